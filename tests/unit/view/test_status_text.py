"""The text of ``status`` and of a configuration."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.cli.configuration_text import configuration_text
from dmvpn_agent.runtime.output import painted
from dmvpn_agent.view.health import days_left, faults, peer_counts
from dmvpn_agent.view.join import join
from dmvpn_agent.view.settings import ExpectedPeer
from dmvpn_agent.view.status_text import overview_text, status_text
from dmvpn_agent.view.strangers import failed_attempts
from dmvpn_agent.view.table import table
from factories import NOW
from joining import denial, identity, sa, sources


def _state(**changes: object) -> dict[str, Any]:
    return {
        "version": "0.1.0", "dry_run": False, "role": "hub", "started": "2026-03-01T12:00:00+00:00",
        "tunnel_interfaces": [{"name": "gre1", "profile": "dmvpn", "up": True}],
        "tunnels": {"left": {}, "problems": []},
        "nhrpd": {"connected": True, "trouble": None},
        "degraded": False, "faults": [], "peer_counts": peer_counts(join(sources(1, 2, denials=(denial(3),)))),
        "frr": {"in_sync": True, "last_sync": "2026-03-01T12:00:00+00:00", "pending_changes": [],
                "problems": [], "trouble": None, "foreign_neighbors": []},
        "frr_access": {"read_by": {"bgpd": "vty", "nhrpd": "vtysh"}, "written_by": "vtysh"},
        "charon": {"connected": True, "patched": False, "ike_sas": [], "own_certificates": [
            {"subject": "CN=hub1", "expires": "2026-06-01T12:00:00+00:00", "days_left": 92}]},
        "redirect": {"installed": True, "packets": 3},
        "multicast": None,
        "source_filter": {"mode": "count", "installed": True, "unknown_sender_packets": 0, "peers": [
            {"protocol_address": "10.255.0.2", "packets": 9, "bytes": 99, "spoofed_packets": 4}]},
        "gre_guard": {"mode": "enforce", "installed": True, "refusal": "",
                      "clear_packets": {"received": 3, "sent": 0}},
        "trust": {"authorities": ["CN=lab CA"], "crls": [], "problems": [], "fetches": []},
        "renewal": None, "store": {"directory": "/var/lib/dmvpn-agent", "writable": True},
        "configuration": {"read": "2026-03-01T12:00:00+00:00", "last_reload": "applied", "restart_needed": []},
        **changes,
    }  # fmt: skip


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """No line ends in blanks."""
    assert table(("A", "B"), [("long", 1), ("x", "")]) == "A     B\nlong  1\nx"


def test_the_state_of_a_hub_is_shown() -> None:
    """Every component has its line; a denial has field, value and rule."""
    text = status_text(_state(), NOW)
    assert "gre1 (profile dmvpn) is up" in text
    assert "connected, 0 IKE_SAs, unpatched: nhrpd needs the bridge" in text
    assert "as desired" in text
    assert "bgpd read by vty; nhrpd read by vtysh; bgpd written by vtysh" in text
    assert "installed, 3 packets logged" in text
    assert "count; forged packets counted, not dropped: 4 of 10.255.0.2" in text
    assert "enforce; GRE packets without IPsec dropped: 3 received, 0 sent" in text
    assert "2 of 3 up; 0 of 0 expected" in text
    assert "1 denied" in text
    assert painted(text, colors=False).endswith("healthy")


def test_crls_and_unusable_files_are_shown() -> None:
    """Each CRL with its issuer and its next update."""
    crl = {"issuer": "CN=lab CA", "revoked": 3, "next_update": "2026-03-08T12:00:00+00:00"}
    fetch = {"url": "http://ca/a.crl", "succeeded": None, "trouble": "no route"}
    trust = {"authorities": ["CN=lab CA"], "crls": [crl], "problems": ["x.crl: no CRL"], "fetches": [fetch]}
    text = status_text(_state(trust=trust), NOW)
    assert "1 CA; 3 revoked by CN=lab CA, next update 2026-03-08T12:00:00+00:00; NOT USED: x.crl: no CRL;" in text
    assert "NOT FETCHED: http://ca/a.crl: no route" in text


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
        ),
        NOW,
    )
    assert "NOT CONNECTED" in text
    assert "nhrpd is not running" in text
    assert "NOT AS DESIRED: bgpd is not running" in text
    assert "NOT INSTALLED" in text
    assert "gre1 (profile dmvpn) is ABSENT" in text


def test_a_node_with_nothing_yet_is_shown() -> None:
    """No peers, nothing managed."""
    text = status_text(_state(peer_counts=peer_counts([]), frr=None, redirect=None), NOW)
    assert "0 of 0 up" in text
    assert "BGP is not managed" in text


def test_a_degraded_node_says_why() -> None:
    """Every fault on a line of its own, in `status` and in the overview."""
    state = _state(degraded=True, faults=["charon is away", "bgpd is away"])
    for text in (status_text(state, NOW), overview_text(state, NOW)):
        assert painted(text, colors=False).endswith("DEGRADED\n  charon is away\n  bgpd is away")


FAULTS: dict[str, dict[str, Any]] = {
    "the tunnel interface gre1 is absent": {"tunnel_interfaces": [{"name": "gre1", "profile": "x", "up": None}]},
    "the tunnel interface gre1 is down": {"tunnel_interfaces": [{"name": "gre1", "profile": "x", "up": False}]},
    "nhrpd is not connected to the event socket": {"nhrpd": {"connected": False, "trouble": None}},
    "nhrpd's cache cannot be read: why": {"nhrpd": {"connected": True, "trouble": "why"}},
    "charon is away, or does not answer": {
        "charon": {"connected": False, "patched": None, "ike_sas": [], "own_certificates": []}
    },
    "the redirect rule is not installed": {"redirect": {"installed": False, "packets": 0}},
    "the multicast rule is not installed": {"multicast": {"installed": False, "packets": 0}},
    "the changed configuration is not in force: `dmvpn-agent check` says why": {
        "configuration": {"last_reload": "refused"}
    },
    "/x cannot be written: a restart loses what the agent learned; is the disk full, or read-only?": {
        "store": {"directory": "/x", "writable": False}
    },
    "this node's certificate is not renewed: why": {"renewal": {"trouble": "why"}},
    (
        "the CRL of CN=CA is outdated since 2026: later revocations are unknown, and with"
        " policy.require_crl its peers are denied"
    ): {"trust": {"problems": [], "crls": [{"issuer": "CN=CA", "outdated": True, "next_update": "2026"}]}},
    "the source filter is not installed": {"source_filter": {"mode": "count", "installed": False}},
    "the GRE guard is not installed: why": {"gre_guard": {"mode": "count", "installed": False, "refusal": "why"}},
    "a CA or CRL file is not used: x": {"trust": {"authorities": [], "crls": [], "problems": ["x"], "fetches": []}},
    "FRR is not as desired: why": {"frr": {"trouble": "why", "pending_changes": [], "foreign_neighbors": []}},
    "FRR is not as desired yet": {"frr": {"trouble": None, "pending_changes": ["x"], "foreign_neighbors": []}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_node_is_one(fault: str) -> None:
    """A healthy node has none."""
    assert faults(_state(), ()) == []
    assert faults(_state(**FAULTS[fault]), ()) == [fault]


def test_numbers_agree_with_their_nouns() -> None:
    """One peer is, two peers are."""
    expected = tuple(ExpectedPeer(f"spoke{number}") for number in (1, 2))
    assert faults(_state(), join(sources(expected=expected[:1])))[0].startswith("1 expected peer is ")
    assert faults(_state(), join(sources(expected=expected)))[0].startswith("2 expected peers are ")
    assert (days_left(1), days_left(-1), days_left(2)) == ("has 1 day left", "expired 1 day ago", "has 2 days left")


def test_attempts_of_nobody_known_are_on_the_first_screen() -> None:
    """An expected peer that comes with another name, or with proposals that do not fit, is only there."""
    known, other = ip_address("203.0.113.1"), ip_address("203.0.113.2")
    alerts = {
        known: LastAlert("cert-expired", identity(1), NOW),
        other: LastAlert("cert-no-issuer", "CN=x\x1b[2J", NOW - timedelta(minutes=2)),
        ip_address("203.0.113.3"): LastAlert("peer-auth-failed", "", NOW - timedelta(hours=2)),
    }
    peers = join(sources(expected=(ExpectedPeer("spoke1"),), alerts=alerts))
    assert [str(peer.stage) for peer in peers] == ["authentication_failed"]
    (failed,) = attempts = failed_attempts(alerts, peers, NOW)
    assert (failed["nbma_address"], failed["alert"]) == (str(other), "cert-no-issuer")
    many = {ip_address("203.0.113.4") + number: LastAlert("cert-revoked", "", NOW) for number in range(99)}
    assert len(failed_attempts(many, (), NOW)) < 10
    for show in (status_text, overview_text):
        text = painted(show(_state(failed_attempts=attempts), NOW, 80), colors=False)
        words = " ".join(text.split())
        assert "failed attempt 203.0.113.2 as CN=x\\x1b[2J, 2m0s ago: the CA that issued" in words
        assert max(map(len, text.splitlines())) <= 80


def test_a_peer_that_is_connected_again_is_no_failed_attempt() -> None:
    """charon gives up its former IKE_SA minutes later; another identity at its address is one."""
    own, address = sa(1).sa.remote_id, sa(1).sa.remote_host
    for claimed, count in ((own, 0), ("CN=x", 1)):
        alerts = {address: LastAlert("retransmit-send-timeout", claimed, NOW)}
        assert len(failed_attempts(alerts, join(sources(1, alerts=alerts)), NOW)) == count, claimed


def test_peers_in_quarantine_are_on_the_first_screen() -> None:
    """Somebody else's quarantine is why a site cannot be reached."""
    counts = peer_counts(join(sources(1))) | {"quarantined": 1}
    for text in (text(_state(peer_counts=counts), NOW) for text in (status_text, overview_text)):
        assert "in quarantine      1 peer:" in text


def test_an_expected_peer_that_is_not_up_is_a_fault() -> None:
    """Not another peer, and not one whose stage is unknown."""
    peers = join(sources(1, 2, sas=(sa(1),), expected=(ExpectedPeer("spoke2"),)))
    assert faults(_state(), peers) == ["1 expected peer is not up: spoke2 (no_ike)"]
    assert faults(_state(), join(sources(1, 2, sas=()))) == []
    assert faults(_state(), join(sources(1, sas=None, expected=(ExpectedPeer("spoke1"),)))) == []


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
    problem = {"interface": "gre1", "kind": "no_gre", "found": "the kernel has no GRE", "do": "modprobe ip_gre"}
    left, peers = {"gre1": ["ip link add gre1 type gre"]}, join(sources(1, 2))
    words = "the tunnel interface gre1 is not as configured"
    named = faults(_state(tunnels={"left": left, "problems": [problem]}), peers)
    assert f"{words}: the kernel has no GRE: modprobe ip_gre" in named
    assert f"{words}: ip link add gre1 type gre" in faults(_state(tunnels={"left": left, "problems": []}), peers)
