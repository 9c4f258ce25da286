"""The decisions of the former scripts, flaws included."""

import re
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.migration.old_script import OldScript, OldVerdict, also_accepted, old_verdict
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Role
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import certificate

EXPLAIN = Path(__file__).parents[2] / "data" / "explain"
TUNNEL = (ip_network("10.255.0.0/24"),)
AS, NET = "AS=64512", "NET=192.168.2.0/24"


def guide(*units: str, address: str = "10.255.0.2") -> OldVerdict:
    return old_verdict(OldScript.GUIDE, certificate(*units), ip_address(address), Role.HUB)


def dmvpn_ca() -> Certificate:
    read = read_certificate((EXPLAIN / "dmvpn-ca.der").read_bytes())
    assert isinstance(read, Certificate)
    return read


def tools(read: Certificate | BadCertificate, address: str = "10.255.0.7", role: Role = Role.HUB) -> OldVerdict:
    return old_verdict(OldScript.DMVPN_TOOLS, read, ip_address(address), role)


@pytest.mark.parametrize(
    ("asked", "accepts"),
    [("10.255.0.20", True), ("10.255.0.2", True), ("10.2.5.0", True), ("10.255.0.21", False), ("10.255.0.9", False)],
)
def test_the_guides_script_compares_only_the_beginning(asked: str, accepts: bool) -> None:
    """GRE=10.255.0.20 lets its peer register 10.255.0.2, and 10.2.5.0, because dots match any character."""
    assert guide("GRE=10.255.0.20", AS, NET, address=asked).accepts is accepts


@given(st.tuples(*[st.integers(0, 255)] * 4), st.integers(7, 15), st.sets(st.integers(1, 14), max_size=3))
def test_the_addresses_also_accepted_are_those_the_pattern_matches(
    named: tuple[int, ...], length: int, dots: set[int]
) -> None:
    """Every listed address matches, and every matching address is listed."""
    text, anywhere = ".".join(map(str, named)), (ip_network("0.0.0.0/0"),)
    read = certificate(f"GRE={text}", AS)
    listed = {str(address) for address in also_accepted(OldScript.GUIDE, read, anywhere)}
    assert all(re.match(address, text) for address in listed)
    candidate = "".join("." if place in dots else char for place, char in enumerate(text[:length]))
    with suppress(ValueError):
        assert str(ip_address(candidate)) in listed | {text}


def test_the_addresses_also_accepted_are_in_the_tunnel_networks() -> None:
    """Addresses elsewhere are unreachable."""
    read = certificate("GRE=10.255.0.113", AS)
    assert [str(address) for address in also_accepted(OldScript.GUIDE, read, TUNNEL)] == ["10.255.0.1", "10.255.0.11"]
    assert also_accepted(OldScript.DMVPN_TOOLS, read, TUNNEL) == ()


def test_the_guides_script_checks_no_as_number_or_prefix() -> None:
    """It accepts any AS number and any prefix."""
    verdict = guide("GRE=10.255.0.2", "AS=3320", "NET=0.0.0.0/0", "NET=192.168.2.7/24")
    assert (verdict.accepts, verdict.as_number, verdict.longest, verdict.notes) == (True, 3320, 26, ())
    assert verdict.prefixes == (ip_network("0.0.0.0/0"), ip_network("192.168.2.0/24"))


@pytest.mark.parametrize(
    ("units", "as_number", "note"),
    [
        ((NET,), None, "no AS=: vtysh refuses the neighbor"),
        (("AS=x", NET), None, "AS=x: vtysh refuses the neighbor"),
        (("AS=0", NET), None, "AS=0: vtysh refuses the neighbor"),
        ((AS, "AS=64513", NET), 64512, "several AS=: the neighbor gets the first one"),
        ((AS, NET, "NET=192.168.3.0/26"), 64512, "NET=192.168.3.0/26: vtysh refuses it, as `le 26` is not longer"),
        ((AS, NET, "NET=192.168.3.0"), 64512, "NET=192.168.3.0: `ip prefix-list` refuses it"),
        ((AS, NET, "NET=2001:db8::/48"), 64512, "NET=2001:db8::/48: `ip prefix-list` refuses it"),
        ((AS, NET, "NET=lan"), 64512, "NET=lan: vtysh refuses it"),
    ],
)
def test_the_guides_script_accepts_even_if_vtysh_refuses(
    units: tuple[str, ...], as_number: int | None, note: str
) -> None:
    """It replies before vtysh runs."""
    verdict = guide("GRE=10.255.0.2", *units)
    assert (verdict.accepts, verdict.as_number) == (True, as_number)
    assert verdict.prefixes == (ip_network("192.168.2.0/24"),)
    assert [text for text in verdict.notes if text.startswith(note)] == list(verdict.notes)


@pytest.mark.parametrize(
    "read", [BadCertificate("cut off"), certificate(AS, NET), dmvpn_ca()], ids=["bad", "none", "SAN"]
)
def test_the_guides_script_denies_without_its_ous(read: Certificate | BadCertificate) -> None:
    """It reads no other field."""
    verdict = old_verdict(OldScript.GUIDE, read, ip_address("10.255.0.7"), Role.HUB)
    assert (verdict.accepts, verdict.why) == (False, "the subject has no OU GRE=")


def test_dmvpn_tools_uses_prefixes_and_skips_ranges() -> None:
    """From the RFC 3779 extensions, for an address in subjectAltName."""
    verdict = tools(dmvpn_ca())
    assert (verdict.accepts, verdict.as_number, verdict.longest) == (True, 65007, None)
    assert verdict.prefixes == (ip_network("192.168.7.0/24"),)
    assert verdict.notes == ("192.168.32.0-192.168.47.255 (192.168.32.0/20): skipped",)


def test_dmvpn_tools_compares_whole_addresses() -> None:
    """It accepts no other address that merely begins the same."""
    assert not tools(dmvpn_ca(), "10.255.0.70").accepts
    assert not tools(dmvpn_ca(), "10.255.0.6").accepts


def test_dmvpn_tools_fails_on_other_certificates() -> None:
    """It fails if subjectAltName is missing or the certificate is unreadable."""
    assert tools(certificate("GRE=10.255.0.7", AS), "10.255.0.7").why == "subjectAltName has no IP address"
    assert "fails before the reply" in tools(BadCertificate("cut off")).why


def test_dmvpn_tools_makes_no_neighbor_on_a_spoke() -> None:
    """On a spoke it only compares the address."""
    verdict = tools(dmvpn_ca(), role=Role.SPOKE)
    assert (verdict.accepts, verdict.as_number, verdict.prefixes) == (True, None, ())
