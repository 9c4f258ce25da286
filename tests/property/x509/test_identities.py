"""Identities that a certificate proves, for any certificate."""

from random import Random

import pytest

import certificates
from certificates import COMMON_NAME, SUBJECT_ALT_NAME, attribute, name, tlv
from dmvpn_agent.bridge.certificate_index import CertificateIndex
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.ike_identity import printed_identities
from fuzz.targets import Certificates


@pytest.mark.parametrize("seed", range(4))
def test_any_certificate_can_be_read_for_identities(seed: int) -> None:
    """Any peer can make charon keep one; only the identities that the policy knows are certain."""
    random, target = Random(seed), Certificates()
    for _ in range(1000):
        data = target.make(random)
        CertificateIndex([data])
        certificate = read_certificate(data)
        if isinstance(certificate, Certificate):
            certain = {printed.text for printed in printed_identities(certificate) if printed.certain}
            assert certain <= set(certificate.identities)


@pytest.mark.parametrize(
    ("general_name", "expected"),
    [
        (tlv(0xA4, name(attribute(COMMON_NAME, "spoke1"))), "CN=spoke1"),
        (tlv(0xA4, name(attribute(COMMON_NAME, b"\x00s", certificates.BMP))), "CN=?s"),
        (tlv(0xA4, name(attribute("2.5.4.6", "DE"), attribute(COMMON_NAME, "x"))), "C=DE, CN=x"),
        (tlv(0xA4, name(attribute("2.5.4.45", b"\x00\x01", 3))), None),
        (tlv(0xA0, certificates.oid("1.3.6.1.4.1.311.20.2.3"), tlv(0xA0, tlv(0x0C, b"CN=spoke1"))), "CN=spoke1"),
        (tlv(0x86, b"CN=spoke1"), "CN=spoke1"),
        (tlv(0x88, b"\x2a\x03"), None),
    ],
    ids=["name", "BMP", "several", "no string", "user principal name", "URI", "registered ID"],
)
def test_any_other_subject_alternative_name_is_never_certain(general_name: bytes, expected: str | None) -> None:
    """It counts as an identity that could be mistaken for another, never as a proof."""
    extension = certificates.extension(SUBJECT_ALT_NAME, certificates.sequence(general_name))
    data = certificates.der(name(attribute(COMMON_NAME, "other")), [extension])
    assert isinstance(read_certificate(data), Certificate)
    if expected is not None:
        assert [one.certain for one in CertificateIndex([data]).matching(expected)] == [False]
    assert len(CertificateIndex([data]).matching("CN=other")) == 1
