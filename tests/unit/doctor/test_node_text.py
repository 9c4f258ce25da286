"""The parsers of the output of ``ip`` and of nhrpd."""

from ipaddress import ip_network

import pytest

from dmvpn_agent.doctor.node import TrapPolicy
from dmvpn_agent.doctor.node_text import parse_links, parse_nhrpd, parse_route, parse_traps

POLICIES = """\
src 203.0.113.1/32 dst 0.0.0.0/0 proto gre
	dir out priority 383360 ptype main
	tmpl src 0.0.0.0 dst 0.0.0.0
		proto esp reqid 2 mode transport
src 0.0.0.0/0 dst 203.0.113.1/32 proto gre
	dir in priority 383360 ptype main
	tmpl src 0.0.0.0 dst 0.0.0.0
		proto esp reqid 2 mode transport
src 203.0.113.1/32 dst 203.0.113.9/32 proto 47
	dir out priority 375424 ptype main
	tmpl src 203.0.113.1 dst 203.0.113.9
		proto esp spi 0xc8cbc95d reqid 2 mode transport
src 0.0.0.0/0 dst 0.0.0.0/0
	socket in priority 0 ptype main
"""
RUNNING = """\
Current configuration:
!
frr version 8.4.4
nhrp event socket /run/dmvpn-agent/nhrp.sock
nhrp nflog-group 7
!
interface gre1
 ip nhrp network-id 1
 ip nhrp redirect
 ipv6 nhrp network-id 1
 ipv6 nhrp redirect
 tunnel protection vici profile dmvpn fallback-profile other
exit
!
interface gre2
 tunnel protection vici profile dmvpn2
exit
"""


def test_only_outgoing_policies_for_gre_to_any_address_are_traps() -> None:
    """Not incoming ones, not those to one peer, not those of sockets."""
    assert list(parse_traps(POLICIES)) == [TrapPolicy(ip_network("203.0.113.1/32"), 2, "transport")]
    assert list(parse_traps("")) == []


def test_nhrpds_configuration_is_read_by_interface() -> None:
    """With its global lines."""
    seen = parse_nhrpd(RUNNING)
    assert (seen.version, seen.event_socket, seen.nflog_group) == ("8.4.4", "/run/dmvpn-agent/nhrp.sock", 7)
    assert seen.profiles == {"gre1": "dmvpn", "gre2": "dmvpn2"}
    assert seen.networks == {("gre1", 4), ("gre1", 6)}
    assert seen.redirects == {("gre1", 4), ("gre1", 6)}


@pytest.mark.parametrize("text", ["", "% Unknown command."])
def test_output_without_a_configuration_is_an_error(text: str) -> None:
    """Output without a version line has none."""
    with pytest.raises(ValueError, match="no configuration"):
        parse_nhrpd(text)


def test_links_are_read_with_their_key_and_addresses() -> None:
    """Link-local addresses are apart."""
    text = """[{"ifname": "gre1", "flags": ["NOARP", "UP"], "mtu": 1400,
        "linkinfo": {"info_kind": "gre", "info_data": {"ikey": "0.0.0.42"}},
        "addr_info": [{"local": "10.255.0.1", "prefixlen": 32, "scope": "global"},
                      {"local": "fe80::1", "prefixlen": 64, "scope": "link"}]}, {}]"""
    ((name, link),) = parse_links(text).items()
    assert (name, link.kind, link.up, link.mtu, link.key) == ("gre1", "gre", True, 1400, "0.0.0.42")
    assert link.addresses == ("10.255.0.1/32",)
    assert link.link_local == ("fe80::1/64",)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"ifname": "gre1"}]'])
def test_output_without_interfaces_is_an_error(text: str) -> None:
    """It does not mean that there are no interfaces."""
    with pytest.raises(ValueError, match=r"."):
        parse_links(text)


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ('[{"type": "blackhole", "dst": "10.255.0.0/24", "protocol": "static", "metric": 20, "flags": []}]',
         "blackhole static"),
        ('[{"dst": "10.255.0.0/24", "dev": "gre1", "protocol": "kernel", "scope": "link", "flags": []}]',
         "unicast kernel"),
        ("[]", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_route_is_read(text: str, route: str) -> None:
    """Without a route, ip prints nothing or an empty list, depending on its version."""
    assert parse_route(text) == route


@pytest.mark.parametrize("text", ["{", "[1]", "{}x", '{"a": 1}'])
def test_output_without_routes_is_an_error(text: str) -> None:
    """It does not mean that there is no route."""
    with pytest.raises(ValueError, match=r"."):
        parse_route(text)
