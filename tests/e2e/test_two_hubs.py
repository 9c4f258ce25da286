"""Two hubs and spokes at both of them, on the real daemons: one hub fails without a word, and returns."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

UP = "the hubs are neighbors, and every spoke is one of both"
BEFORE = "traffic between LANs: spoke1 and spoke2 go direct, spoke1 and spoke3 through hub1"
FAILED = (
    "hub1 loses its power: what went through it goes through hub2 within BGP's hold time, shortcuts notice nothing"
)
RETURN = "hub1 has power again: all is as it was before, and hardly a packet more is lost"
# The hold time of frr/spoke.conf and frr/hub.conf, and what bgpd and zebra may take on an emulated machine.
HOLD_SECONDS, SLACK_SECONDS = 15, 2


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("two-hubs")


@pytest.mark.parametrize(("hub", "other"), [("hub1", "10.255.0.2"), ("hub2", "10.255.0.1")])
def test_hubs_accept_each_other(report: Report, hub: str, other: str) -> None:
    """Each hub decides about the other by its certificate, and gives it a neighbor."""
    assert "OU=Hubs" in report.evidence(UP, "Decision", on=hub, protocol_address=other)["subject"]
    report.evidence(UP, "BgpSession", on="hub1", to="hub2")


@pytest.mark.parametrize("hub", ["hub1", "hub2"])
@pytest.mark.parametrize("spoke", ["spoke1", "spoke2", "spoke3"])
def test_spokes_are_at_both_hubs(report: Report, hub: str, spoke: str) -> None:
    """The agents of spokes and hubs make the neighbors of both ends."""
    assert report.evidence(UP, "BgpSession", on=hub, to=spoke)[0]["state"] == "Established"


@pytest.mark.parametrize("hub", ["hub1", "hub2"])
def test_spoke_has_a_lan_from_both_hubs(report: Report, hub: str) -> None:
    """A spoke knows two ways to another one's LAN."""
    assert len(report.evidence(UP, "Prefix", on="spoke1", sender=hub)["received_from"]) == 2


def test_paths_before(report: Report) -> None:
    """The traffic goes direct in one case and through a hub in the other."""
    assert report.evidence(BEFORE, "TrafficIntact", destination="spoke2")["path"] == "direct"
    assert report.evidence(BEFORE, "TrafficIntact", destination="spoke3")["path"] == "hub"


def test_traffic_goes_on_through_the_other_hub(report: Report) -> None:
    """Traffic through a hub that lost its power goes through the other one after BGP's hold time at most."""
    seen = report.evidence(FAILED, "TrafficIntact", destination="spoke3")
    assert seen["goes_on"]
    assert seen["path"] == "hub"
    assert 0 < seen["longest_gap_seconds"] <= HOLD_SECONDS + SLACK_SECONDS
    assert "via 10.255.0.2 " in report.evidence(FAILED, "Route", on="spoke1")[0]


def test_shortcut_outlives_the_hub(report: Report) -> None:
    """What goes direct loses no packet when the hub that made it possible is gone, nor when that returns.

    One may be lost when the surplus IKE_SA of two spokes that started at once ends.
    """
    for step in (FAILED, RETURN):
        seen = report.evidence(step, "TrafficIntact", destination="spoke2")
        assert len(seen["lost"]) <= 1
        assert seen["path"] == "direct"


@pytest.mark.parametrize("peer", ["hub2", "spoke1", "spoke2", "spoke3"])
def test_hub_returns(report: Report, peer: str) -> None:
    """All sessions of a hub that has power again come back by themselves, and the spokes prefer it as before."""
    report.evidence(RETURN, "BgpSession", on="hub1", to=peer)
    assert "via 10.255.0.1 " in report.evidence(RETURN, "Route", on="spoke1")[0]


def test_return_loses_next_to_nothing(report: Report) -> None:
    """The way back to the hub that returned is taken only once it leads somewhere."""
    assert len(report.evidence(RETURN, "TrafficIntact", destination="spoke3")["lost"]) <= 5
