"""A hub with two spokes and an impostor, on the real daemons."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

# The first test that asks for the report runs the scenario.
pytestmark = pytest.mark.timeout(TIMEOUT + 60)

JOIN = "both spokes are accepted"
BGP = "BGP is Established, each spoke has the other's LAN"
SHORTCUT = "a ping from LAN to LAN starts through the hub and goes direct"
IMPOSTOR = "the impostor is denied, with the field and the value"
OUTSIDE = "a prefix outside a spoke's NETs is announced, and the hub does not take it"
FLUSH = "the hub's nftables rules are flushed, and the redirect rule comes back"
KILL = "the hub's agent is killed and restarted, and nothing changes"
LATE = "a spoke that comes after the restart is served"
REVOKED = "spoke2's certificate is revoked while it is up: it is out"
REFUSED = "spoke2 is refused by charon too, spoke1 has noticed nothing"
RETURN = "the revocation is taken back, and spoke2 returns without waiting for the hold time"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("policy")


@pytest.mark.parametrize("address", ["10.255.0.11", "10.255.0.12"])
def test_spokes_are_accepted(report: Report, address: str) -> None:
    """A spoke that registers the protocol address of its certificate is accepted by the hub."""
    assert report.evidence(JOIN, "Decision", on="hub", protocol_address=address)["decision"] == "accept"


def test_spoke_checks_the_hub(report: Report) -> None:
    """A spoke decides about the hub's binding too, by the hub's certificate."""
    assert "CN=hub" in report.evidence(JOIN, "Decision", on="spoke1", protocol_address="10.255.0.1")["subject"]


@pytest.mark.parametrize("spoke", ["spoke1", "spoke2"])
def test_traffic_is_encrypted(report: Report, spoke: str) -> None:
    """Between the hub and each spoke there is a CHILD_SA in transport mode, and it carries packets."""
    sas = report.evidence(JOIN, "SecurityAssociation", on="hub", to=spoke)
    assert [child["mode"] for sa in sas for child in sa["child_sas"]] == ["TRANSPORT"]


@pytest.mark.parametrize("spoke", ["spoke1", "spoke2"])
def test_bgp_is_established(report: Report, spoke: str) -> None:
    """The agent's neighbor for an accepted spoke comes up."""
    assert report.evidence(BGP, "BgpSession", on="hub", to=spoke)[0]["state"] == "Established"


@pytest.mark.parametrize(("spoke", "lan"), [("spoke1", "192.168.2.0/24"), ("spoke2", "192.168.1.0/24")])
def test_spokes_have_each_others_lan(report: Report, spoke: str, lan: str) -> None:
    """Each spoke receives the other's LAN from the hub and routes it into the tunnel."""
    assert report.evidence(BGP, "Prefix", on=spoke, prefix=lan)["received_from"] == ["10.255.0.1"]
    assert "dev gre1" in report.evidence(BGP, "Route", on=spoke, prefix=lan)[0]


def test_path_goes_direct(report: Report) -> None:
    """The first packet passes the hub, the path is direct within 10 packets, and one is lost at most."""
    seen = report.evidence(SHORTCUT, "Shortcut")
    assert (seen["ttl_before"], seen["ttl_after"]) == (61, 62)
    assert seen["first_direct_packet"] <= 10
    assert len(seen["lost_after_direct"]) <= 1


def test_shortcut_is_authorized(report: Report) -> None:
    """A spoke decides about another spoke's binding before a shortcut is made."""
    assert "CN=spoke2" in report.evidence(SHORTCUT, "Decision", on="spoke1")["subject"]


def test_impostor_is_denied_with_a_reason(report: Report) -> None:
    """A valid certificate for another protocol address denies, and the decision says field, value and expectation."""
    denied = report.evidence(IMPOSTOR, "Decision")
    assert denied["reason"] == "protocol_address_mismatch"
    assert (denied["field"], denied["found"]) == ("OU GRE", "GRE=10.255.0.99")
    assert "10.255.0.9" in denied["expected"]


def test_impostor_gets_nothing(report: Report) -> None:
    """A denied node has no binding, no route, no neighbor on the hub."""
    report.evidence(IMPOSTOR, "Binding", protocol_address="10.255.0.9", present="False")
    report.evidence(IMPOSTOR, "Route", prefix="10.255.0.9/32", present="False")
    report.evidence(IMPOSTOR, "BgpSession", to="impostor", state="absent")


def test_prefix_outside_the_certificate_is_not_taken(report: Report) -> None:
    """The hub takes a prefix inside a spoke's NETs and leaves one outside, which the spoke really announced."""
    seen = report.evidence(OUTSIDE, "Prefix", on="hub", prefix="192.168.66.0/24")
    assert seen == {"announced_by_sender": True, "received_from": []}
    report.evidence(OUTSIDE, "Prefix", on="hub", prefix="192.168.1.128/26", sender="spoke1")
    report.evidence(OUTSIDE, "Prefix", on="spoke2", prefix="192.168.66.0/24", present="False")


def test_redirect_rule_comes_back(report: Report) -> None:
    """Flushing nftables does not end shortcuts: what is logged for each pair is back, and what all pairs share."""
    of_each_pair, shared = report.evidence(FLUSH, "RedirectRule", on="hub")
    assert "update @redirected" in of_each_pair
    assert "update @redirected" not in shared


@pytest.mark.parametrize("spoke", ["spoke1", "spoke2"])
def test_killing_the_agent_changes_nothing(report: Report, spoke: str) -> None:
    """After kill -9 and a new start a spoke's SAs, BGP session and routes are the same, and the peers known."""
    before = report.evidence(KILL, "Unchanged", about=spoke)["before"]
    assert all(before[kind] for kind in ("ike_sas", "child_sas", "bgp_sessions", "routes"))
    report.evidence(KILL, "Peer", protocol_address="10.255.0.11")


def test_late_spoke_is_served(report: Report) -> None:
    """A spoke that registers after the agent's restart is accepted, its LAN taken; the others stay as they were."""
    report.evidence(LATE, "Decision", protocol_address="10.255.0.13")
    report.evidence(LATE, "Prefix", on="hub", prefix="192.168.3.0/24")
    for spoke in ("spoke1", "spoke2"):
        report.evidence(LATE, "Unchanged", about=spoke)


def test_impostor_loses_its_ike_sa(report: Report) -> None:
    """A denied peer does not keep a tunnel to send packets through."""
    assert report.evidence(IMPOSTOR, "Metric", on="hub") >= 1


def test_explain_names_what_denied_the_impostor(report: Report) -> None:
    """``explain`` with the certificate names the value found and the value expected."""
    report.evidence(IMPOSTOR, "Command", on="hub")


def test_hub_exports_its_decisions(report: Report) -> None:
    """The hub's metrics count what was decided."""
    assert report.evidence(JOIN, "Metric", on="hub") >= 2


@pytest.mark.parametrize("that", ["SecurityAssociation", "Route", "BgpSession"])
def test_revoked_spoke_is_out(report: Report, that: str) -> None:
    """SA, route and neighbor of a spoke are gone once a CRL that holds its certificate has arrived."""
    report.evidence(REVOKED, that, on="hub")


def test_revoked_spoke_is_forgotten(report: Report) -> None:
    """nhrpd has no binding of a revoked spoke, bgpd no prefix, the agent does not list it as a peer."""
    report.evidence(REFUSED, "Binding", protocol_address="10.255.0.12", present="False")
    report.evidence(REFUSED, "Prefix", on="hub", prefix="192.168.2.0/24", present="False")
    report.evidence(REFUSED, "Peer", protocol_address="10.255.0.12", present="False")


def test_revoked_spoke_is_refused_by_charon(report: Report) -> None:
    """When a revoked spoke tries again, the hub's charon refuses it by the same CRL."""
    assert report.evidence(REFUSED, "Log", daemon="charon")["lines"] >= 1


@pytest.mark.parametrize("step", [REFUSED, RETURN])
def test_other_spoke_is_undisturbed(report: Report, step: str) -> None:
    """While spoke2 goes and returns, spoke1 keeps its SAs, its BGP session and its routes, and loses no packet."""
    before = report.evidence(step, "Unchanged", about="spoke1")["before"]
    assert all(before[kind] for kind in ("ike_sas", "child_sas", "bgp_sessions", "routes"))
    assert report.evidence(step, "TrafficIntact")["lost"] == []


def test_unrevoked_spoke_returns(report: Report) -> None:
    """Once a CRL holds its certificate no longer, a spoke is back with its LAN in 90 s, not in 40 minutes."""
    assert report.evidence(RETURN, "Decision", protocol_address="10.255.0.12")["decision"] == "accept"
    assert report.seconds(RETURN, "SecurityAssociation", to="spoke2") <= 90
    assert report.seconds(RETURN, "BgpSession", to="spoke2") <= 90
    assert report.evidence(RETURN, "Prefix", prefix="192.168.2.0/24")["received_from"]


def test_every_daemon_lives(report: Report) -> None:
    """No daemon of the hub ended during the run."""
    assert report.evidence(RETURN, "Alive", on="hub") == {"ended": []}
