"""The identities of a certificate as charon prints them."""

import re
import shutil
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

import certificates
from certificates import tlv
from dmvpn_agent.x509.ike_identity import MAX_PRINTED, printed_alternative_names, printed_subject
from dmvpn_agent.x509.name import SHORT_NAMES, issuer_and_subject, read_name
from factories import NOW, YEAR, key

SUBJECTS = [
    [(NameOID.COMMON_NAME, "hub")],
    [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "DMVPN lab"),
     (NameOID.ORGANIZATIONAL_UNIT_NAME, "GRE=10.255.0.1"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "NET=192.168.1.0/24"),
     (NameOID.COMMON_NAME, "spoke1")],
    [(NameOID.ORGANIZATION_NAME, "a, OU=b"), (NameOID.COMMON_NAME, "Zürich")],
    [(NameOID.SURNAME, "s"), (NameOID.GIVEN_NAME, "g"), (NameOID.SERIAL_NUMBER, "12"), (NameOID.TITLE, "t"),
     (NameOID.LOCALITY_NAME, "l"), (NameOID.STATE_OR_PROVINCE_NAME, "st"), (NameOID.STREET_ADDRESS, "str"),
     (NameOID.EMAIL_ADDRESS, "a@b"), (NameOID.USER_ID, "u"), (NameOID.DOMAIN_COMPONENT, "dc"),
     (NameOID.PSEUDONYM, "p"), (NameOID.POSTAL_CODE, "1")],
    [(NameOID.COMMON_NAME, "tab\there")],
]  # fmt: skip


def _certificate(subject: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
        .sign(key(), hashes.SHA256())
    )


def _printed(certificate: x509.Certificate) -> str | None:
    _, subject = issuer_and_subject(certificate.public_bytes(Encoding.DER))
    return printed_subject(read_name(subject))


@pytest.mark.contract
@pytest.mark.skipif(shutil.which("pki") is None, reason="needs strongSwan's pki")
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject[0][1])
def test_a_subject_is_printed_as_strongswan_does(
    subject: list[tuple[x509.ObjectIdentifier, str]], tmp_path: Path
) -> None:
    """It equals the output of strongSwan's `pki --print`."""
    certificate = _certificate(subject)
    file = tmp_path / "certificate.der"
    file.write_bytes(certificate.public_bytes(Encoding.DER))
    shown = subprocess.run(["pki", "--print", "--in", file], capture_output=True, check=True).stdout.decode("latin-1")
    line = next(line for line in shown.splitlines() if "subject:" in line)
    assert line.split('"', 1)[1].rsplit('"', 1)[0] == _printed(certificate)


@pytest.mark.contract
@pytest.mark.skipif(shutil.which("pki") is None, reason="needs strongSwan's pki")
@pytest.mark.parametrize(
    "subject",
    [
        certificates.name(certificates.attribute(certificates.COMMON_NAME, b"Z\xfcrich", certificates.T61)),
        certificates.name(certificates.attribute(certificates.COMMON_NAME, b"\x00h\x00u\x00b", certificates.BMP)),
        certificates.sequence(
            tlv(0x31, *(certificates.attribute(certificates.UNIT, text) for text in ("a", "b"))),
            tlv(0x31, certificates.attribute(certificates.COMMON_NAME, "hub")),
        ),
    ],
    ids=["t61", "bmp", "multi-valued"],
)
def test_other_forms_of_a_subject_are_printed_as_strongswan_does(subject: bytes, tmp_path: Path) -> None:
    """strongSwan prints octets of any string type, and the values of a multi-valued RDN like several RDNs."""
    file = tmp_path / "certificate.der"
    file.write_bytes(certificates.der(subject))
    shown = subprocess.run(["pki", "--print", "--in", file], capture_output=True, check=True).stdout.decode("latin-1")
    assert f'subject:  "{printed_subject(read_name(subject))}"' in shown


_STRINGS = {certificates.UTF8: "utf-8", certificates.PRINTABLE: "ascii", certificates.T61: "latin-1",
            certificates.IA5: "ascii", certificates.BMP: "utf-16-be"}  # fmt: skip
_CHARACTERS = st.sampled_from("ab Z=,\"'\\/+*?#\x00\x7f\n\u00fc\u20ac")


@st.composite
def _attributes(draw: st.DrawFn) -> bytes:
    tag = draw(st.sampled_from(list(_STRINGS)))
    text = draw(st.text(_CHARACTERS, min_size=1, max_size=60))
    value = text.encode(_STRINGS[tag], errors="ignore") or b"x"
    return certificates.attribute(draw(st.sampled_from(list(SHORT_NAMES))), value, tag)


@pytest.mark.contract
@pytest.mark.skipif(shutil.which("pki") is None, reason="needs strongSwan's pki")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_attributes(), min_size=1, max_size=3), min_size=1, max_size=12))
def test_any_subject_is_printed_as_strongswan_does(rdns: list[list[bytes]]) -> None:
    """For any attributes, strings and characters the form is the same, or known to be uncertain."""
    der = certificates.der(certificates.sequence(*(tlv(0x31, *attributes) for attributes in rdns)))
    shown = subprocess.run(["pki", "--print"], input=der, capture_output=True, check=True).stdout.decode("latin-1")
    (subject,) = re.findall(r'(?s)subject:  "(.*)"\n  issuer:', shown)
    printed = printed_subject(read_name(issuer_and_subject(der)[1]))
    if printed is None:
        cut = "(inv" in subject[-24:] or len(subject) == MAX_PRINTED
        assert cut or b"U\x04a" in der  # organizationIdentifier: versions differ
    else:
        assert printed == subject


def test_a_subject_that_charon_would_cut_is_not_printed() -> None:
    """Two long names could print the same once they are cut."""
    units = [(NameOID.ORGANIZATIONAL_UNIT_NAME, f"NET=192.168.{number}.0/24") for number in range(30)]
    assert _printed(_certificate(units)) is None
    fits = [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)] * 7
    assert len(_printed(_certificate(fits)) or "") <= MAX_PRINTED


def test_an_attribute_without_a_short_name_is_not_printed() -> None:
    """What cannot be compared identifies no peer."""
    assert _printed(_certificate([(x509.ObjectIdentifier("1.2.3.4"), "x")])) is None


def test_an_ipv6_address_with_an_ipv4_form_is_no_identity() -> None:
    """glibc prints it differently from Python, and it could be mistaken for the IPv4 address."""
    names = [
        x509.IPAddress(ip_address(text)) for text in ("::ffff:10.0.0.1", "::10.0.0.1", "10.0.0.1", "2001:db8::1")
    ]
    assert list(printed_alternative_names(names)) == ["10.0.0.1", "2001:db8::1"]
