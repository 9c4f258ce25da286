"""Whether two certificates are one peer's."""

from factories import UNITS, certificate


def test_it_outlasts_a_renewal_with_other_resources() -> None:
    """The resources in the subject are not who it is."""
    assert certificate(*UNITS).identity == certificate(*UNITS[:2], "NET=192.168.7.0/24", name="spoke1").identity


def test_another_name_is_another() -> None:
    """However equal the resources."""
    assert certificate(name="spoke1").identity != certificate(name="spoke2").identity


def test_an_ou_that_is_no_resource_tells_peers_apart() -> None:
    """A site, as dmvpn-ca has it."""
    assert certificate(*UNITS, "Berlin").identity != certificate(*UNITS, "Bonn").identity


def test_subjects_without_a_distinctive_name_are_told_apart_by_all_they_have() -> None:
    """Nothing but resources in the subject: those are who it is."""
    assert certificate(*UNITS, name="").identity != certificate("GRE=10.255.0.3", name="").identity
