"""Whether two certificates belong to one peer."""

from factories import UNITS, certificate


def test_the_identity_survives_a_renewal_with_other_resources() -> None:
    """The resources in the subject are not part of the identity."""
    assert certificate(*UNITS).identity == certificate(*UNITS[:2], "NET=192.168.7.0/24", name="spoke1").identity


def test_another_name_is_another_identity() -> None:
    """Equal resources do not matter."""
    assert certificate(name="spoke1").identity != certificate(name="spoke2").identity


def test_an_ou_that_is_no_resource_distinguishes_peers() -> None:
    """Such an OU is the site in dmvpn-ca."""
    assert certificate(*UNITS, "Berlin").identity != certificate(*UNITS, "Bonn").identity


def test_subjects_without_a_distinctive_name_are_compared_whole() -> None:
    """If the subject has only resources, they are the identity."""
    assert certificate(*UNITS, name="").identity != certificate("GRE=10.255.0.3", name="").identity
