"""X.509 to claims."""

from ipaddress import ip_address, ip_network

import pytest

from dmvpn_agent.core.model import BadCertificate
from dmvpn_agent.wire.certificate import MAX_CERTIFICATE_BYTES, MAX_CLAIMS, read_certificate, shown
from factories import NOW, YEAR, certificate, der


def test_claims_are_read_in_order_whatever_stands_between() -> None:
    """Other OUs are passed over; each claim keeps its place and its text."""
    read = certificate("site 7", "NET=192.168.1.0/24", "GRE=10.255.0.2", "GREAT=1", "NET=192.168.2.0/24", "AS=64512")
    assert [claim.value for claim in read.prefixes] == [ip_network("192.168.1.0/24"), ip_network("192.168.2.0/24")]
    assert [claim.value for claim in read.protocol_addresses] == [ip_address("10.255.0.2")]
    assert [(claim.field, claim.text, claim.value) for claim in read.as_numbers] == [("OU AS", "AS=64512", 64512)]


def test_the_validity_is_aware() -> None:
    """Times can be compared with the agent's clock."""
    read = certificate()
    assert (read.not_before, read.not_after) == (NOW - YEAR, NOW + YEAR)


@pytest.mark.parametrize(
    "unit",
    ["GRE=10.0.0.1 ", "GRE= 10.0.0.1", "GRE=10.0.0.01", "GRE=010.0.0.1", "GRE=10.0.0", "GRE=", "GRE=167772161",
     "GRE=10.0.0.1/32", "GRE=10.0.0.1\n", "GRE=１0.0.0.1", "GRE=10.0.0.1\x00", "GRE=fe80::1%eth0",
     "GRE=2001:DB8:0::1"],
)  # fmt: skip
def test_an_address_not_in_its_one_form_is_no_address(unit: str) -> None:
    """The claim is there, without a value: the policy denies it instead of passing it over."""
    (claim,) = certificate(unit).protocol_addresses
    assert claim.value is None


@pytest.mark.parametrize("unit", ["AS=+1", "AS=1_0", "AS=٣", "AS=1.1", "AS=0x10", "AS=99999999999", "AS=-1", "AS="])
def test_an_as_number_is_plain_decimal(unit: str) -> None:
    """What Python would take for a number is not one."""
    (claim,) = certificate(unit).as_numbers
    assert claim.value is None


def test_the_key_is_compared_whole_and_as_written() -> None:
    """``gre=``, ``GRE =`` and ``XGRE=`` are other units."""
    assert certificate("gre=10.0.0.1", "GRE =10.0.0.1", "XGRE=10.0.0.1", "GRE").protocol_addresses == ()


def test_other_notations_of_ipv6_are_read_in_either_case() -> None:
    """Upper-case hexadecimal is the same canonical address."""
    (claim,) = certificate("GRE=2001:DB8::1").protocol_addresses
    assert claim.value == ip_address("2001:db8::1")


@pytest.mark.parametrize("data", [b"", b"\x30", bytes(100), der()[:-1], der() + b"x", b"\x30\x80" * 1000])
def test_what_is_no_certificate_is_a_value(data: bytes) -> None:
    """Broken DER is told, not raised."""
    assert isinstance(read_certificate(data), BadCertificate)


def test_a_certificate_that_is_too_large_is_not_looked_at() -> None:
    """Size is checked before parsing."""
    assert read_certificate(bytes(MAX_CERTIFICATE_BYTES + 1)) == BadCertificate("longer than 65536 bytes")


def test_a_certificate_with_too_many_units_is_bad() -> None:
    """The number of claims is bounded."""
    read = read_certificate(der(("x",) * (MAX_CLAIMS + 1)))
    assert read == BadCertificate("more than 1000 OUs")


def test_text_from_outside_is_shown_harmless() -> None:
    """Control and non-ASCII characters are escaped, long text is cut."""
    assert shown("a\x1b[2J\nб") == "a\\x1b[2J\\n\\u0431"
    assert shown("x" * 300) == "x" * 199 + "…"


def test_a_subject_cannot_write_to_a_terminal() -> None:
    """An escape sequence in a certificate arrives escaped in subject and claim."""
    read = certificate("GRE=\x1b[31m10.0.0.1")
    assert "\x1b" not in read.subject + read.protocol_addresses[0].text
