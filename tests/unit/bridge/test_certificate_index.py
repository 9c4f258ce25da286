"""Which certificates match an IKE identity that charon prints."""

from typing import NoReturn

import pytest

import certificates
from certificates import COMMON_NAME, PRINTABLE, SUBJECT_ALT_NAME, UTF8, attribute, name
from dmvpn_agent.bridge.certificate_index import CertificateIndex, Match
from factories import certificate

SPOKE1 = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


def _matching(identity: str, *cached: bytes) -> list[Match]:
    return CertificateIndex(cached).matching(identity)


def _certain(identity: str, *cached: bytes) -> list[bool]:
    return [match.certain for match in _matching(identity, *cached)]


def test_octets_that_are_no_certificate_are_skipped() -> None:
    """The cache may hold any octets. The other certificates match their subjects."""
    one = certificate()
    version_six = certificates.der().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    assert _matching(SPOKE1, b"", b"\x30\x00", version_six, one.der) == [Match(one, certain=True)]
    assert _matching("CN=spoke1", one.der) == []


def test_case_counts_except_in_a_printable_string() -> None:
    """charon prints the name as the peer sent it, and ignores case in a PrintableString."""
    printable = name(attribute(COMMON_NAME, "Hub", PRINTABLE))
    assert _matching("CN=hUB", certificates.der(printable)) == [Match(certificates.read(printable), True)]
    assert _matching("CN=hUB", certificates.der(name(attribute(COMMON_NAME, "Hub", UTF8)))) == []


def test_case_does_not_count_in_a_dns_name() -> None:
    """Nor in a mail address (``equals_strcasecmp``)."""
    with_name = certificate(dns_name="Spoke1.example")
    assert _matching("spoke1.EXAMPLE", with_name.der) == [Match(with_name, certain=True)]


@pytest.mark.parametrize(
    "subject",
    [
        name(attribute(COMMON_NAME, "*")),
        name(attribute(COMMON_NAME, "M\u00fcller")),
        name(attribute(COMMON_NAME, "a, OU=b")),
        name(attribute(COMMON_NAME, "(invalid ID_DER_ASN1_DN)")),
    ],
    ids=["pattern", "not ASCII", "like two attributes", "like a truncated name"],
)
def test_a_subject_that_another_can_be_printed_like_is_not_certain(subject: bytes) -> None:
    """The cache may hold only the other peer's certificate."""
    found = certificates.read(subject)
    (text,) = found.identities
    assert _matching(text, found.der) == [Match(found, certain=False)]


@pytest.mark.parametrize(
    "disguise", [(2, b"CN=spoke1"), (1, b"CN=spoke1"), (6, b"CN=spoke1")], ids=["dns", "mail", "uri"]
)
def test_an_identity_of_another_kind_that_is_printed_alike_matches(disguise: tuple[int, bytes]) -> None:
    """So that neither peer passes for the other."""
    alternatives = certificates.extension(SUBJECT_ALT_NAME, certificates.alternatives(disguise))
    other = certificates.der(name(attribute(COMMON_NAME, "other")), [alternatives])
    assert sorted(_certain("CN=spoke1", certificates.der(), other)) == [False, True]


def test_a_serial_number_can_be_an_identity() -> None:
    """charon accepts an ID_KEY_ID that is a certificate's serial number, and prints it as text if it is text."""
    other = certificates.der(
        name(attribute(COMMON_NAME, "other")), serial=certificates.integer(int.from_bytes(b"CN=spoke1"))
    )
    assert _certain("CN=spoke1", other) == [False]


@pytest.mark.parametrize("serial", [-5, -1, -128, -129, -(2**159), -(2**479), 0, 127, 128, 2**160, 2**479 - 1])
def test_an_odd_serial_number_affects_no_other_certificate(serial: int) -> None:
    """Any peer can send charon such a certificate."""
    odd = certificates.der(name(attribute(COMMON_NAME, "stranger")), serial=certificates.integer(serial))
    assert [match.certificate.subject for match in _matching("CN=spoke1", odd, certificates.der())] == ["CN=spoke1"]


def test_the_magnitude_of_a_negative_serial_number_can_be_an_identity() -> None:
    """charon's openssl plugin drops the sign."""
    odd = certificates.der(
        name(attribute(COMMON_NAME, "other")), serial=certificates.integer(-int.from_bytes(b"spoke1"))
    )
    assert _certain("spoke1", odd) == [False]


def test_an_unreadable_certificate_is_listed_with_the_reason() -> None:
    """It matches nothing."""
    index = CertificateIndex([b"no certificate", certificates.der()])
    assert list(index.unreadable) == [b"no certificate"]
    assert index.unreadable[b"no certificate"].startswith("not readable: ")


def test_no_exception_of_a_library_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries have many versions, and certificates many forms."""

    def fail(_: object) -> NoReturn:
        raise KeyError("\x1b[2J")

    monkeypatch.setattr("dmvpn_agent.bridge.certificate_index.printed_identities", fail)
    der = certificates.der(name(attribute(COMMON_NAME, "of this test")))
    assert CertificateIndex([der]).unreadable == {der: "its identities are not readable: '\\x1b[2J'"}


def test_a_pattern_in_a_dns_name_is_not_certain() -> None:
    """charon lets a peer of another name authenticate under it."""
    assert _certain("*.example", certificate(dns_name="*.example").der) == [False]
