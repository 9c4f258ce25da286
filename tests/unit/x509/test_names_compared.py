"""Names are compared by RFC 5280, section 7.1, everywhere."""

import pytest

from certificates import (
    BMP,
    COMMON_NAME,
    IA5,
    ORGANIZATION,
    PRINTABLE,
    T61,
    UNIT,
    attribute,
    name,
    oid,
    sequence,
    tlv,
)
from certificates import der as certificate_der
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.der import Malformed
from dmvpn_agent.x509.name import canonical_name

ONE = name(attribute(ORGANIZATION, "Example Ltd"), attribute(COMMON_NAME, "ca"))
SAME = {
    "PrintableString": name(attribute(ORGANIZATION, "Example Ltd", PRINTABLE), attribute(COMMON_NAME, "ca")),
    "BMPString": name(attribute(ORGANIZATION, "Example Ltd".encode("utf-16-be"), BMP), attribute(COMMON_NAME, "ca")),
    "IA5String": name(attribute(ORGANIZATION, "Example Ltd"), attribute(COMMON_NAME, "ca", IA5)),
    "case": name(attribute(ORGANIZATION, "EXAMPLE ltd"), attribute(COMMON_NAME, "CA")),
    "white space": name(attribute(ORGANIZATION, "  Example \t Ltd "), attribute(COMMON_NAME, "ca")),
    "no-break space": name(attribute(ORGANIZATION, "Example\u00a0Ltd"), attribute(COMMON_NAME, "ca")),
    "zero width": name(attribute(ORGANIZATION, "Exam\u200bple\u00ad Ltd"), attribute(COMMON_NAME, "ca")),
}
OTHER = {
    "order of RDNs": name(attribute(COMMON_NAME, "ca"), attribute(ORGANIZATION, "Example Ltd")),
    "one RDN": sequence(tlv(0x31, attribute(COMMON_NAME, "ca"), attribute(ORGANIZATION, "Example Ltd"))),
    "type": name(attribute(UNIT, "Example Ltd"), attribute(COMMON_NAME, "ca")),
    "no space": name(attribute(ORGANIZATION, "ExampleLtd"), attribute(COMMON_NAME, "ca")),
    "letter": name(attribute(ORGANIZATION, "Example Ltd"), attribute(COMMON_NAME, "cb")),
    "longer": name(
        attribute(ORGANIZATION, "Example Ltd"), attribute(COMMON_NAME, "ca"), attribute(COMMON_NAME, "ca")
    ),
    "no string": name(attribute(ORGANIZATION, "Example Ltd"), attribute(COMMON_NAME, b"ca", 0x04)),
}


@pytest.mark.parametrize("kind", SAME)
def test_these_names_are_equal(kind: str) -> None:
    """The encoding does not matter."""
    assert canonical_name(SAME[kind]) == canonical_name(ONE)


@pytest.mark.parametrize("kind", OTHER)
def test_these_names_differ(kind: str) -> None:
    """Similar looks do not matter."""
    assert canonical_name(OTHER[kind]) != canonical_name(ONE)


def test_letters_of_other_scripts_are_folded_too() -> None:
    """NFKC and case folding make Zürich in two Unicode forms and in Latin-1 equal."""
    one = canonical_name(name(attribute(COMMON_NAME, "Zürich Straße")))
    assert canonical_name(name(attribute(COMMON_NAME, "ZU\u0308RICH STRASSE"))) == one
    assert canonical_name(name(attribute(COMMON_NAME, "Zürich Straße".encode("latin-1"), T61))) == one
    # Folding takes the first one apart, so both must be normalized once more.
    folded = {canonical_name(name(attribute(COMMON_NAME, text))) for text in ("\u0390", "\u03aa\u0301")}
    assert len(folded) == 1


def test_the_order_within_an_rdn_does_not_count() -> None:
    """An RDN is a set, though DER sorts it."""
    parts = attribute(ORGANIZATION, "x"), attribute(COMMON_NAME, "y")
    one, other = (sequence(tlv(0x31, *order)) for order in (parts, parts[::-1]))
    assert canonical_name(one) == canonical_name(other)


def test_text_with_prohibited_characters_is_compared_by_octets() -> None:
    """Private and unassigned code points (RFC 4518, section 2.4) equal only themselves."""
    private = [canonical_name(name(attribute(COMMON_NAME, f"\ue000{text}"))) for text in ("a", "A", "a")]
    assert private[0] == private[2] != private[1]


def _identity(subject: bytes, issuer: bytes = ONE) -> str:
    certificate = read_certificate(certificate_der(subject, issuer=issuer))
    assert isinstance(certificate, Certificate)
    return certificate.identity


@pytest.mark.parametrize("kind", SAME)
def test_a_peer_stays_the_same_when_its_ca_encodes_names_in_another_way(kind: str) -> None:
    """Neither its own name nor its issuer's in another encoding makes a renewal a conflict."""
    assert _identity(SAME[kind]) == _identity(ONE)
    assert _identity(OTHER["letter"], SAME[kind]) == _identity(OTHER["letter"])


@pytest.mark.parametrize("kind", OTHER)
def test_two_peers_stay_two(kind: str) -> None:
    """Names that differ are two identities."""
    assert _identity(OTHER[kind]) != _identity(ONE)
    assert _identity(ONE, OTHER[kind]) != _identity(ONE)


def test_ous_that_name_resources_are_not_part_of_the_identity() -> None:
    """This is so in a multi-valued RDN too."""
    plain = _identity(name(attribute(UNIT, "AS=1"), attribute(COMMON_NAME, "a")))
    assert _identity(name(attribute(UNIT, "AS=2", PRINTABLE), attribute(COMMON_NAME, "A"))) == plain
    assert _identity(name(attribute(UNIT, "site"), attribute(COMMON_NAME, "a"))) != plain


@pytest.mark.parametrize(
    "item",
    [
        sequence(oid(COMMON_NAME), tlv(IA5, b"ca"), tlv(IA5, b"x")),
        sequence(oid(COMMON_NAME)),
        sequence(tlv(2, b"\x01"), tlv(IA5, b"ca")),
    ],
    ids=["three parts", "one part", "no type"],
)
def test_an_attribute_is_a_type_and_a_value(item: bytes) -> None:
    """Anything else is malformed."""
    with pytest.raises(Malformed, match="not a type and a value"):
        canonical_name(name(item))
