"""Hostile certificates: none raises, none takes long, and no malformed part counts."""

import json
from typing import Any

import pytest

from certificates import (
    BLOCKS,
    BLOCKS_V2,
    BMP,
    COMMON_NAME,
    HUB_HOSTS,
    IA5,
    IS_HUB,
    NULL,
    NUMBERS,
    PRINTABLE,
    SUBJECT_ALT_NAME,
    T61,
    TRUE,
    UNIT,
    alternatives,
    attribute,
    bits,
    blocks,
    der,
    extension,
    integer,
    name,
    numbers,
    sequence,
    tlv,
    units,
)
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Claim
from dmvpn_agent.x509.certificate_reader import MAX_CERTIFICATE_BYTES, read_certificate
from dmvpn_agent.x509.claims import MAX_CLAIMS

HUGE = b"\x84\xff\xff\xff\xff"


def _with(kind: str, value: bytes) -> bytes:
    """A certificate with a good OU and this extension."""
    return der(units("AS=64512"), [extension(kind, value)])


#: Must be no certificate at all.
UNREADABLE = {
    "nothing": b"",
    "text": b"-----BEGIN CERTIFICATE-----\n",
    "one megabyte of zeros": bytes(1 << 20),
    "one megabyte, well-formed": der(units("GRE=10.255.0.2"), [extension("1.2.3.4", bytes(1 << 20))]),
    "just too long": der(extensions=[extension("1.2.3.4", bytes(MAX_CERTIFICATE_BYTES))]),
    "huge length": b"\x30" + HUGE + der()[4:],
    "huge length within": der(b"\x30" + HUGE),
    "length of 126 octets": b"\x30\xfe" + bytes(200),
    "indefinite length": b"\x30\x80" + der()[4:] + b"\x00\x00",
    "indefinite name": der(b"\x30\x80\x00\x00"),
    "nested a thousand deep": b"\x30\x80" * 1000,
    "nested in its length": der(b"\x30\x82\x03\xe8" * 250),
    "cut": der(units("GRE=10.255.0.2"))[:-1],
    "something behind": der() + b"\x00",
    "twice": der() * 2,
    "empty serial number": der(serial=b"\x02\x00"),
    "overlong serial number": der(serial=b"\x02\x03\x00\x00\x07"),
    "serial number of 2,000 octets": der(serial=tlv(2, b"\x7f" * 2000)),
    "serial number of another tag": der(serial=b"\x04\x01\x07"),
    "name of another tag": der(b"\x31\x00"),
    "RDN of another tag": der(sequence(sequence(attribute(UNIT, "AS=1")))),
    "attribute of another tag": der(sequence(tlv(0x31, tlv(0x31, attribute(UNIT, "AS=1")[2:])))),
    "OU as bits": der(name(attribute(UNIT, b"\x00GRE=10.255.0.2", 0x03))),
    "OU as a sequence": der(name(attribute(UNIT, attribute(UNIT, "AS=1"), 0x30))),
    "OU constructed": der(name(attribute(UNIT, tlv(0x0C, b"AS=1"), 0x2C))),
    "OU not UTF-8": der(name(attribute(UNIT, b"GRE=10.255.0.2\xff"))),
    "OU overlong UTF-8": der(name(attribute(UNIT, b"GRE=10.255.0.2\xc0\xaf"))),
    "OU with a surrogate": der(name(attribute(UNIT, b"AS=1\xed\xa0\x80"))),
    "OU half a character": der(name(attribute(UNIT, b"\x00A\x00S\x00", BMP))),
    "OU not printable ASCII": der(name(attribute(UNIT, b"AS=1\xb2", PRINTABLE))),
    "too many OUs": der(units(*["NET=192.168.2.0/24"] * (MAX_CLAIMS + 1))),
    "two subjectAltNames": der(extensions=[extension(SUBJECT_ALT_NAME, alternatives((2, b"a")))] * 2),
    "two IPAddrBlocks": der(extensions=[extension(BLOCKS, blocks(bits(0, "0a")))] * 2),
    "two roles": der(extensions=[extension(IS_HUB, TRUE), extension(IS_HUB, b"\x01\x01\x00")]),
    "two versions that differ": der(
        extensions=[extension(BLOCKS, blocks(bits(0, "0a"))), extension(BLOCKS_V2, blocks(bits(0, "0b")))]
    ),
    "unknown and critical": der(units("AS=1"), [extension("1.2.3.4", b"", critical=True)]),
    "critical NULL": der(units("AS=1"), [sequence(b"\x06\x03\x2a\x03\x04", b"\x01\x01\x01", tlv(4, b""))]),
    "subjectAltName empty": _with(SUBJECT_ALT_NAME, b""),
    "subjectAltName address of five": _with(SUBJECT_ALT_NAME, alternatives((7, bytes(5)))),
    "subjectAltName address of none": _with(SUBJECT_ALT_NAME, alternatives((7, b""))),
    "subjectAltName with a huge length": _with(SUBJECT_ALT_NAME, b"\x30\x06\x87" + HUGE),
    "subjectAltName too many": _with(SUBJECT_ALT_NAME, alternatives(*[(7, bytes(4))] * (MAX_CLAIMS + 1))),
    "hub hosts of another string": _with(HUB_HOSTS, sequence(tlv(0x0C, b"hub"))),
    "hub hosts cut": _with(HUB_HOSTS, b"\x30\x05\x16\x10hub"),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_certificate_is_refused(data: bytes) -> None:
    """The reason is one printable line."""
    found = read_certificate(data)
    assert isinstance(found, BadCertificate), found
    assert found.why.isprintable()
    assert len(found.why) < 300


#: Readable, with one thing that must not be believed; the AS number beside it is read.
DOUBTFUL = {
    **{
        f"OU {text!a}": der(units("AS=64512", text))
        for text in (
            "GRE=１0.255.0.2",
            "GRE=10.255.0.٢",
            "GRE=10\u20240.255.2",
            "GRE=10.255.0.2\x00",
            "GRE=10.255.0.2\x00.evil",
            "GRE=\u202e2.0.552.01",
            "GRE=10.255.0.2\u200b",
            "GRE=\ufeff10.255.0.2",
            "GRE=10.255.0.2\r\nresult=accept",
            "GRE=::ffff:10.255.0.2",
            "GRE=0:0:0:0:0:FFFF:AFF:2",
            "GRE=fe80::1%gre1",
            "NET=::ffff:192.168.2.0/120",
            "NET=192.168.2.0/２4",
            "NET=192.168.2.1/24",
            "NET=192.168.2.0/255.255.255.0",
            "NET=192.168.2.0/24 NET=10.0.0.0/8",
            "NET=" + "1" * 10_000,
            "AS=６４５１２",
            "AS=" + "9" * 10_000,
            "AS=64512.0",
            "AS=1e4",
        )
    },
    "mapped subjectAltName": _with(SUBJECT_ALT_NAME, alternatives((7, bytes(10) + b"\xff\xff\x0a\xff\x00\x02"))),
    "masked subjectAltName": _with(SUBJECT_ALT_NAME, alternatives((7, b"\x0a\x00\x00\x00\xff\x00\x00\x00"))),
    "prefix with host bits": _with(BLOCKS, blocks(bits(4, "c0a8022f"))),
    "prefix of 33 bits": _with(BLOCKS, blocks(bits(7, "c0a8020080"))),
    "prefix of ten thousand bits": _with(BLOCKS, blocks(bits(0, "ff" * 1250))),
    "mapped prefix": _with(BLOCKS, blocks(bits(0, "00" * 10 + "ffff0a"), family="0002")),
    "range the wrong way": _with(BLOCKS, blocks(sequence(bits(0, "0b"), bits(0, "0a")))),
    "IPv6 prefix as IPv4": _with(BLOCKS, blocks(bits(0, "20010db8000000"), family="0001")),
    "multicast": _with(BLOCKS, blocks(bits(0, "0a"), family="000102")),
    "more prefixes than can be": _with(BLOCKS, blocks(*[sequence(bits(0, "00000001"), bits(1, "fffffffc"))] * 2000)),
    "huge length in IPAddrBlocks": _with(BLOCKS, b"\x30" + HUGE + b"\x30\x00"),
    "trailing bytes in IPAddrBlocks": _with(BLOCKS, blocks(bits(0, "0a")) + NULL),
    "IPAddrBlocks empty": _with(BLOCKS, b""),
    "negative AS number": _with(NUMBERS, numbers(b"\x02\x02\xfc\x00")),
    "overlong AS number": _with(NUMBERS, numbers(b"\x02\x04\x00\x00\xfc\x00")),
    "AS number of a thousand octets": _with(NUMBERS, numbers(tlv(2, b"\x01" * 1000))),
    "AS number of 33 bits": _with(NUMBERS, numbers(integer(2**32))),
    "AS numbers as enumerated": _with(NUMBERS, numbers(b"\x0a\x01\x01")),
    "routing domains": _with(NUMBERS, sequence(tlv(0xA1, NULL))),
    "role as a number": _with(IS_HUB, b"\x02\x01\x01"),
    "role almost TRUE": _with(IS_HUB, b"\x01\x01\x01"),
    "role of a thousand octets": _with(IS_HUB, tlv(1, bytes(1000))),
    "role twice": _with(IS_HUB, TRUE + TRUE),
    "role in a string": _with(IS_HUB, tlv(IA5, b"TRUE")),
}


def _claims(certificate: Certificate) -> list[Claim[Any]]:
    return [
        claim
        for found in certificate.resources.values()
        for claims in (found.protocol_addresses, found.as_numbers, found.prefixes, found.roles)
        for claim in claims
    ]


@pytest.mark.parametrize("data", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_malformed_part_is_a_claim_without_value(data: bytes) -> None:
    """The policy denies it by name, and nothing else in the same field counts."""
    found = read_certificate(data)
    assert isinstance(found, Certificate), found
    doubtful = [claim for claim in _claims(found) if claim.text != "AS=64512"]
    assert len(doubtful) == len(_claims(found)) - 1 > 0
    for claim in doubtful:
        assert claim.value is None
        assert claim.text.removesuffix("…").isascii()
        assert claim.text.isprintable()
        assert len(claim.text) <= 200


@pytest.mark.parametrize("tag", [0x0C, T61, BMP, IA5])
def test_a_look_alike_of_a_key_does_not_count(tag: int) -> None:
    """``GRЕ=`` with a Cyrillic letter, a full-width ``＝`` or a key behind a zero byte names no resource."""
    for text in ("GRЕ=10.255.0.2", "GRE＝10.255.0.2", "\x00GRE=10.255.0.2", "Нubs", "Hubs\x00", " Hubs"):
        encoding = {0x0C: "utf-8", T61: "latin-1", BMP: "utf-16-be", IA5: "ascii"}[tag]
        found = read_certificate(der(name(attribute(UNIT, text.encode(encoding, errors="replace"), tag))))
        assert isinstance(found, BadCertificate) or found.resources == {}, text


def test_the_largest_certificate_is_read_in_full() -> None:
    """Within the size limit, the last OU counts like the first."""
    texts = ["x" * 50] * (MAX_CLAIMS - 1)
    found = read_certificate(der(units(*texts, "AS=64512")))
    assert isinstance(found, Certificate), found
    assert [str(claim.value) for claim in _claims(found)] == ["64512"]


def test_a_name_cannot_look_like_another() -> None:
    """Separators of attributes are escaped in values, for people and for patterns."""
    found = read_certificate(der(name(attribute(COMMON_NAME, "x, O=DMVPN\x1b[2J"))))
    assert isinstance(found, Certificate)
    assert found.subject == "CN=x\\2C O=DMVPN\\x1b[2J"


@pytest.mark.parametrize("serial", [-(2**151), -5, -1, 0, 1, 2**151])
def test_any_serial_number_can_be_shown(serial: int) -> None:
    """It prints in hexadecimal, in decimal and in JSON, or the certificate is unreadable."""
    found = read_certificate(der(serial=integer(serial)))
    if isinstance(found, Certificate):
        assert (found.serial, int(f"{found.serial:x}", 16), json.loads(json.dumps(found.serial))) == (serial,) * 3
        assert str(serial) in repr(found)
