"""The text of ``status`` and of a configuration."""

from typing import Any

from configuration import config_from
from dmvpn_agent.cli.configuration_text import configuration_text
from dmvpn_agent.view.status_text import status_text
from dmvpn_agent.view.table import table

PEER = {
    "protocol_address": "10.255.0.2", "nbma_address": "203.0.113.2", "as_number": 64512, "bound": True,
    "absent_since": None, "prefixes": ["192.168.2.0/24"], "subject": "CN=spoke1",
    "bgp": {"state": "Established", "prefixes_received": 1}, "neighbor": "10.255.0.2", "quarantined": False,
}  # fmt: skip
DENIED = {
    "time": "2026-03-01T12:00:00.000+00:00", "decision": "deny", "reason": "protocol_address_mismatch",
    "field": "OU GRE", "found": "GRE=10.255.0.99", "expected": "the protocol address the peer registers: 10.255.0.9",
    "protocol_address": "10.255.0.9", "nbma_address": "203.0.113.9",
}  # fmt: skip


def _state(**changes: object) -> dict[str, Any]:
    return {
        "version": "0.1.0", "dry_run": False, "role": "hub", "started": "2026-03-01T12:00:00+00:00",
        "tunnel_interfaces": [{"name": "gre1", "profile": "dmvpn", "up": True}],
        "tunnels": {"left": {}, "problems": []},
        "nhrpd": {"connected": True, "trouble": None},
        "peers": [PEER], "decisions": [DENIED],
        "frr": {"in_sync": True, "last_sync": "2026-03-01T12:00:00+00:00", "pending_changes": [],
                "problems": [], "trouble": None},
        "frr_access": {"read_by": {"bgpd": "vty", "nhrpd": "vtysh"}, "written_by": "vtysh"},
        "charon": {"connected": True, "patched": False, "ike_sas": []},
        "redirect": {"installed": True, "packets": 3},
        "source_filter": {"mode": "count", "installed": True, "unknown_sender_packets": 0, "peers": [
            {"protocol_address": "10.255.0.2", "packets": 9, "bytes": 99, "spoofed_packets": 4}]},
        "trust": {"authorities": ["CN=lab CA"], "crls": [], "problems": []}, **changes,
    }  # fmt: skip


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """No line ends in blanks."""
    assert table(("A", "B"), [("long", 1), ("x", "")]) == "A     B\nlong  1\nx"


def test_the_state_of_a_hub_is_shown() -> None:
    """Every component has its line; a denial has field, value and rule."""
    text = status_text(_state())
    assert "gre1 (profile dmvpn) is up" in text
    assert "connected, 0 IKE_SAs, unpatched: nhrpd needs the bridge" in text
    assert "as desired" in text
    assert "bgpd read by vty; nhrpd read by vtysh; bgpd written by vtysh" in text
    assert "installed, 3 packets logged" in text
    assert "count; forged packets counted, not dropped: 4 of 10.255.0.2" in text
    assert "10.255.0.2  203.0.113.2  64512  yes    Established  1" in text
    assert "OU GRE is GRE=10.255.0.99; expected the protocol address the peer registers: 10.255.0.9" in text


def test_crls_and_unusable_files_are_shown() -> None:
    """Each CRL with its issuer and its next update."""
    crl = {"issuer": "CN=lab CA", "revoked": 3, "next_update": "2026-03-08T12:00:00+00:00"}
    text = status_text(_state(trust={"authorities": ["CN=lab CA"], "crls": [crl], "problems": ["x.crl: no CRL"]}))
    assert "1 CAs; 3 revoked by CN=lab CA, next update 2026-03-08T12:00:00+00:00; NOT USED: x.crl: no CRL" in text


def test_a_further_address_of_a_peer_shows_the_one_with_the_neighbor() -> None:
    """It has no session of its own."""
    other = PEER | {"protocol_address": "2001:db8:ff::2", "bgp": None}
    text = status_text(_state(peers=[PEER, other]))
    assert "2001:db8:ff::2  203.0.113.2  64512  yes    at 10.255.0.2  -" in text


def test_a_quarantined_peer_is_shown_as_quarantined() -> None:
    """It has no session on purpose."""
    assert "yes    quarantined  -" in status_text(_state(peers=[PEER | {"bgp": None, "quarantined": True}]))


def test_a_failure_is_shown_in_capitals() -> None:
    """With its reason."""
    text = status_text(
        _state(
            nhrpd={"connected": False, "trouble": "nhrpd is not running"},
            frr={
                "in_sync": False,
                "last_sync": None,
                "pending_changes": [],
                "problems": [],
                "trouble": "bgpd is not running",
            },
            redirect={"installed": False, "packets": 0},
            tunnel_interfaces=[{"name": "gre1", "profile": "dmvpn", "up": None}],
        )
    )
    assert "NOT CONNECTED" in text
    assert "nhrpd is not running" in text
    assert "NOT AS DESIRED: bgpd is not running" in text
    assert "NOT INSTALLED" in text
    assert "gre1 (profile dmvpn) is ABSENT" in text


def test_a_node_with_nothing_yet_is_shown() -> None:
    """No peers, no decisions, nothing managed."""
    text = status_text(_state(peers=[], decisions=[], frr=None, redirect=None))
    assert "no peers" in text
    assert "no decisions since the start" in text
    assert "BGP is not managed" in text


def test_a_peer_without_session_is_shown() -> None:
    """Missing values are dashes; an absent peer has the time of its absence."""
    text = status_text(
        _state(peers=[PEER | {"bgp": None, "bound": False, "absent_since": "12:00", "as_number": None}])
    )
    assert "10.255.0.2  203.0.113.2  -   not since 12:00  -    -" in text


def test_a_configuration_is_shown_with_what_it_would_do() -> None:
    """``check`` prints the lines that FRR needs, and examples of the agent's input for vtysh and nft."""
    text = configuration_text(
        config_from(
            {
                "role": "hub",
                "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
                "bgp": {"as_number": 65000},
            }
        )
    )
    for line in (
        "nhrp event socket /run/dmvpn-agent/nhrp.sock",
        "router bgp 65000",
        "neighbor 192.0.2.1 prefix-list dmvpn-agent-192.0.2.1-in in",
        'iifname "gre1" oifname "gre1"',
    ):
        assert line in text


def test_a_tunnel_that_is_not_as_configured_is_shown() -> None:
    """With the command that would correct it, and the remedy of what prevents it."""
    problem = {"interface": "gre1", "kind": "no_gre", "found": "no GRE", "do": "modprobe ip_gre"}
    text = status_text(_state(tunnels={"left": {"gre1": ["ip link set gre1 mtu 1400"]}, "problems": [problem]}))
    assert "gre1 is NOT AS CONFIGURED: ip link set gre1 mtu 1400; no GRE: modprobe ip_gre" in text
