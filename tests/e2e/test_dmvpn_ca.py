"""A network as dmvpn-ca's README makes one, on the real daemons: one AS, two hubs, a site with two concentrators."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

ACCEPTED = "all peers are accepted: the other hub, and both concentrators of the site"
REFLECTED = "each concentrator has a filter of the site's prefixes; the hubs reflect, and are the next hop"
PING = "a ping from LAN to LAN starts through the hub and goes direct"
FOREIGN = "a prefix of another site is announced, and no hub takes it"
GONE = "one concentrator loses its power: the other keeps neighbor and filter, and serves the site"
OTHER = "a ping goes to the other concentrator, direct again"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("dmvpn-ca")


@pytest.mark.parametrize(("on", "address"), [("hub1", "172.18.0.2"), ("hub2", "172.18.0.1"), ("swe1", "172.18.0.1")])
def test_hubs_are_accepted(report: Report, on: str, address: str) -> None:
    """By each other and by spokes, with blocks that have the tunnel network and all sites in them."""
    assert "OU=Hubs" in report.evidence(ACCEPTED, "Decision", on=on, protocol_address=address)["subject"]


@pytest.mark.parametrize("spoke", ["fin1", "fin2", "swe1"])
@pytest.mark.parametrize("hub", ["hub1", "hub2"])
def test_every_router_has_a_session_with_each_hub(report: Report, hub: str, spoke: str) -> None:
    """Both concentrators of the site too, at the same time."""
    assert report.evidence(ACCEPTED, "BgpSession", on=hub, to=spoke)[0]["state"] == "Established"


def test_both_concentrators_announce_the_sites_prefix(report: Report) -> None:
    """bgpd has both routes, and takes one; the filters let in nothing else."""
    received = report.evidence(REFLECTED, "Prefix", on="hub1", sender="fin1")["received_from"]
    assert {"172.18.1.1", "172.18.1.2"} <= set(received)
    running = "\n".join(report.evidence(REFLECTED, "Command", on="hub1", file="running-config.txt")["printed"])
    for address in ("172.18.1.1", "172.18.1.2"):
        permitted = [
            line for line in running.splitlines() if f"dmvpn-agent-{address}-in " in line and "permit" in line
        ]
        assert permitted == [f"ip prefix-list dmvpn-agent-{address}-in seq 5 permit 10.1.0.0/16 le 26"]


def test_hubs_are_the_next_hop_of_what_they_reflect(report: Report) -> None:
    """So that packets go through a hub, which makes the shortcut."""
    assert "via 172.18.0.1 " in report.evidence(REFLECTED, "Route", on="swe1", prefix="10.1.0.0/16")[0]


def test_lan_to_lan_goes_direct(report: Report) -> None:
    """Through the hub first."""
    assert report.evidence(PING, "Shortcut", source="swe1")["first_direct_packet"] <= 10


@pytest.mark.parametrize("hub", ["hub1", "hub2"])
def test_another_sites_prefix_is_filtered(report: Report, hub: str) -> None:
    """Though it is announced."""
    assert report.evidence(FOREIGN, "Prefix", on=hub, prefix="10.1.66.0/24")["announced_by_sender"]


def test_the_other_concentrator_stays(report: Report) -> None:
    """With its session, and the site is reached by it."""
    assert report.evidence(GONE, "BgpSession", on="hub1", to="fin2")[0]["state"] == "Established"
    assert "via 172.18.1.2 " in report.evidence(GONE, "Route", on="hub1")[0]
    assert report.evidence(OTHER, "Shortcut", source="swe1")["first_direct_packet"] <= 10
