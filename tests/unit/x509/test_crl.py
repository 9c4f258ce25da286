"""CRLs that are read, and CRLs that are refused."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certificates import COMMON_NAME, attribute, bits, integer, name, oid, sequence, tlv
from dmvpn_agent.x509.crl import MAX_CRL_BYTES, Crl, CrlError, read_crls
from dmvpn_agent.x509.name import canonical_name
from factories import NOW, der, key

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
DAY = timedelta(days=1)

Extension = tuple[x509.ExtensionType, bool]


def entry(serial: int, *extensions: Extension) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.build()


def crl(*entries: x509.RevokedCertificate, extensions: Sequence[Extension] = ()) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(NAME).last_update(NOW - DAY).next_update(NOW + DAY)
    for revoked in entries:
        builder = builder.add_revoked_certificate(revoked)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key(), SHA256())


def read(*entries: x509.RevokedCertificate, extensions: Sequence[Extension] = ()) -> Crl:
    (found,) = read_crls(crl(*entries, extensions=extensions).public_bytes(Encoding.DER))
    return found


def test_a_crl_is_read() -> None:
    """It has serial numbers, dates, number and issuer, and the issuer has the name of the CA."""
    found = read(entry(7), entry(2**150 + 1), extensions=[(x509.CRLNumber(12), False)])
    assert found.serials == {7, 2**150 + 1}
    assert (found.this_update, found.next_update, found.number) == (NOW - DAY, NOW + DAY, 12)
    assert (found.issuer, found.name) == ("CN=test CA", canonical_name(NAME.public_bytes()))


def test_an_empty_crl_is_a_crl() -> None:
    """It shows that no certificate is revoked."""
    assert read().serials == frozenset()
    assert read().number is None


def test_remove_from_crl_does_not_revoke() -> None:
    """Every other reason revokes."""
    reasons = [reason for reason in x509.ReasonFlags if reason is not x509.ReasonFlags.unspecified]
    found = read(*(entry(place, (x509.CRLReason(reason), False)) for place, reason in enumerate(reasons, 1)))
    assert found.serials == {
        place for place, reason in enumerate(reasons, 1) if reason is not x509.ReasonFlags.remove_from_crl
    }


def test_a_pem_file_can_contain_several_crls() -> None:
    """Text around them, as OpenSSL writes it, is skipped."""
    one, other = (crl(entry(serial)).public_bytes(Encoding.PEM) for serial in (1, 2))
    found = read_crls(b"Certificate Revocation List (CRL):\n" + one + b"\n# next\n" + other.replace(b"\n", b"\r\n"))
    assert [item.serials for item in found] == [{1}, {2}]


PARTIAL = {
    "issuingDistributionPoint": x509.IssuingDistributionPoint(
        full_name=[x509.DNSName("x")],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    ),
    "deltaCRLIndicator": x509.DeltaCRLIndicator(3),
    "1.2.3.4": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""),
}


@pytest.mark.parametrize("kind", PARTIAL)
def test_a_partial_crl_is_refused(kind: str) -> None:
    """The error names the extension."""
    with pytest.raises(CrlError, match=kind):
        read(extensions=[(PARTIAL[kind], True)])


def test_an_unknown_extension_that_is_not_critical_is_ignored() -> None:
    """RFC 5280, section 5.2."""
    assert read(extensions=[(PARTIAL["1.2.3.4"], False)]).serials == frozenset()


@pytest.mark.parametrize(
    ("kind", "extension"),
    [("certificateIssuer", x509.CertificateIssuer([x509.DirectoryName(NAME)])), ("1.2.3.4", PARTIAL["1.2.3.4"])],
)
def test_an_entry_about_another_issuer_refuses_the_crl(kind: str, extension: x509.ExtensionType) -> None:
    """A serial number of another issuer must not revoke a certificate of this one."""
    with pytest.raises(CrlError, match=kind):
        read(entry(7, (extension, True)))


GOOD = crl(entry(7)).public_bytes(Encoding.DER)
GOOD_PEM = crl(entry(7)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "no CRL"),
        (b"text", "no CRL"),
        (GOOD[:-1], "no CRL"),
        (GOOD + b"\x00", "no CRL"),
        (der(), "no CRL"),
        (GOOD.replace(b"\x02\x01\x01\x30", b"\x02\x01\x05\x30", 1), "no CRL"),
        (b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "is CERTIFICATE and not X509 CRL"),
        (GOOD_PEM.replace(b"-----END", b"-----DNE"), "has no end"),
        (GOOD_PEM + GOOD_PEM[:100], "has no end"),
        (GOOD_PEM.replace(b"\nMI", b"\n!MI"), "not base64"),
        (bytes(MAX_CRL_BYTES + 1), "more than"),
    ],
    ids=["empty", "text", "cut", "longer", "certificate", "version", "PEM certificate", "no end", "cut PEM", "base64",
         "huge"],
)  # fmt: skip
def test_input_that_is_no_crl_is_an_error(data: bytes, error: str) -> None:
    """Nothing else is raised; one bad CRL spoils the file."""
    with pytest.raises(CrlError, match=error):
        read_crls(data)


def test_a_number_that_cannot_be_printed_is_an_error() -> None:
    """Otherwise no message could name the CRL."""
    with pytest.raises(CrlError, match="longer than 64 octets"):
        read(extensions=[(x509.CRLNumber(2**16000), False)])


def test_a_damaged_crl_is_read_or_an_error() -> None:
    """This is so for every damaged byte."""
    for place, byte in enumerate(GOOD):
        for value in (0, 0x80, 0xFF, byte ^ 1):
            with contextlib.suppress(CrlError):
                read_crls(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])


def test_a_crl_may_have_no_next_update() -> None:
    """RFC 5280 requires nextUpdate, X.509 does not."""
    algorithm, issuer = sequence(oid("1.2.840.10045.4.3.2")), name(attribute(COMMON_NAME, "test CA"))
    inside = sequence(integer(1), algorithm, issuer, tlv(0x17, b"260301120000Z"))
    (found,) = read_crls(sequence(inside, algorithm, bits(0, "00")))
    assert (found.this_update, found.next_update, found.name) == (NOW, None, canonical_name(issuer))
