"""Which of a peer's certificates entitles to least."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import certificates
from dmvpn_agent.bridge.least_privileged import is_subset, least_privileged
from dmvpn_agent.x509.certificate import Certificate
from factories import UNITS, certificate

GRE, AS, NET = UNITS
WITHIN = [
    ((GRE, AS, NET), (NET, AS, GRE)),
    ((GRE, AS), (GRE, AS, NET)),
    ((GRE, AS, NET), (GRE, "AS=64512", "NET=192.168.0.0/16")),
    ((GRE,), (GRE, "GRE=10.255.0.3")),
    ((GRE, "NET=2001:db8:1::/48"), (GRE, "NET=2001:db8::/32")),
]
APART = [
    ((GRE, AS, NET), (GRE, AS, "NET=192.168.3.0/24")),
    ((GRE, AS, NET), (GRE, "AS=64513", NET)),
    ((GRE, "NET=0.0.0.0/0"), (GRE, "NET=::/0")),
    ((GRE, AS, NET), (GRE, AS, NET, "Hubs")),
    ((GRE, AS), (GRE, AS, "NET=nonsense")),
]


@pytest.mark.parametrize(("narrow", "wide"), WITHIN)
def test_a_narrower_certificate_is_a_subset(narrow: tuple[str, ...], wide: tuple[str, ...]) -> None:
    """In every resource; order and notation do not matter."""
    assert is_subset(certificate(*narrow), certificate(*wide))


@pytest.mark.parametrize(("one", "other"), APART)
def test_incomparable_certificates_are_no_subsets(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """More here and less there, another role, or a claim that is malformed."""
    assert not is_subset(certificate(*one), certificate(*other))
    assert not is_subset(certificate(*other), certificate(*one))
    assert least_privileged([certificate(*one), certificate(*other)]) is None


def test_a_source_that_is_left_out_does_not_make_a_subset() -> None:
    """Without addresses in the subject, a policy may read the subjectAltName, which may have more."""
    addresses = certificates.alternatives((7, bytes((10, 255, 0, 2))), (7, bytes((10, 255, 0, 3))))
    extensions = [certificates.extension(certificates.SUBJECT_ALT_NAME, addresses)]
    assert not is_subset(
        certificates.read(certificates.units("AS=64512"), extensions),
        certificates.read(certificates.units("AS=64512", "GRE=10.255.0.2"), extensions),
    )


_UNITS = st.sets(
    st.sampled_from(["GRE=10.255.0.2", "GRE=10.255.0.3", "AS=64512", "NET=10.0.0.0/8", "NET=10.1.0.0/16", "Hubs"])
)


@given(_UNITS, _UNITS, _UNITS)
def test_the_subset_relation_is_an_order(one: set[str], other: set[str], third: set[str]) -> None:
    """Reflexive and transitive; the least privileged one is a subset of all."""
    a, b, c = (certificate(*sorted(units)) for units in (one, other, third))
    assert is_subset(a, a)
    assert not (is_subset(a, b) and is_subset(b, c)) or is_subset(a, c)
    least: Certificate | None = least_privileged([a, b, c])
    assert least is None or all(is_subset(least, each) for each in (a, b, c))
