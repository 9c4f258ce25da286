"""Sessions with a real bgpd: changes that keep a session, and what operators' peer-groups bring."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.frr import HUB, SPEAKER, RealBgpd, available, version
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import SetNeighbor, plan
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bgp.settings import MaximumPrefix
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.x509.certificate import Label
from factories import SETTINGS, spoke
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

#: Later versions open no session with IPv6 without zebra, which tells them about IPv4 next hops.
needs_no_zebra = pytest.mark.skipif(version() >= (10,), reason="this bgpd has no IPv6 over IPv4 without zebra")
SUMMARY = "show bgp ipv4 unicast summary json"
PEER = spoke(2, "192.168.2.0/24", "192.168.3.0/24")
BOTH = replace(SETTINGS, ipv6=True)
#: The same spoke, with IPv6 prefixes as well.
DUAL = SPEAKER.replace(
    " exit-address-family",
    " exit-address-family\n address-family ipv6 unicast\n  neighbor 10.255.0.1 activate\n  network 2001:db8:2::/48\n"
    "  network 2001:db8:2:1::/64\n exit-address-family",
)


class Pair:
    """A hub and a spoke with a session."""

    def __init__(self, hub: str, speaker: str) -> None:
        self.hub = RealBgpd(hub)
        self.hub.start()
        self.speaker = RealBgpd(speaker, namespace=self.hub.pid, address="10.255.0.2")
        self.speaker.start()
        self.bgpd = self.hub.adapter()

    def stop(self) -> None:
        self.speaker.stop()
        self.hub.stop()

    async def apply(self, goal: Desired) -> None:
        await self.bgpd.apply(plan(goal, (await self.bgpd.observe()).config).changes)
        assert plan(goal, (await self.bgpd.observe()).config).changes == ()

    def session(self, family: str = "ipv4") -> dict[str, Any]:
        """Return the row of the spoke in the summary."""
        summary = json.loads(self.hub.type(f"show bgp {family} unicast summary json") or "{}")
        peers: dict[str, dict[str, Any]] = summary.get("peers", {})
        return peers.get("10.255.0.2", {})

    def received(self, family: str = "ipv4") -> int:
        session = self.session(family)
        return int(session["pfxRcd"]) if session.get("state") == "Established" else 0

    def neighbor(self) -> dict[str, Any]:
        shown: dict[str, dict[str, Any]] = json.loads(self.hub.type("show bgp neighbors 10.255.0.2 json"))
        return shown["10.255.0.2"]


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(*getattr(request, "param", (HUB, SPEAKER)))
    yield pair
    pair.stop()


@needs_no_zebra
@pytest.mark.parametrize("pair", [(HUB, DUAL)], indirect=True)
async def test_limit_weight_and_description_change_without_a_reset(pair: Pair) -> None:
    """An agent without limits and labels wrote the neighbor; the next one updates it in place."""
    peer = replace(PEER, prefixes=(*PEER.prefixes, *spoke(2, "2001:db8:2::/48").prefixes), kind=PeerKind.HUB)
    await pair.apply(desired([peer], BOTH))
    until_now(lambda: (pair.received(), pair.received("ipv6")) == (3, 2))
    named = replace(peer, label=Label("spoke2.example.net"))
    for by in (
        BOTH,
        replace(BOTH, maximum_prefix=MaximumPrefix(10, 15), hub_weights={peer.protocol_address: 200}),
        replace(BOTH, maximum_prefix=MaximumPrefix(3), hub_weights={peer.protocol_address: 100}),
        BOTH,
    ):
        await pair.apply(desired([named], by))
        weight = by.hub_weights.get(peer.protocol_address, 0)
        until_now(lambda weight=weight: _weights(pair) == {weight})  # type: ignore[misc]
    assert (pair.received(), pair.received("ipv6")) == (3, 2)
    assert pair.session()["connectionsEstablished"] == 1
    session = (await pair.bgpd.observe()).sessions[peer.protocol_address]
    assert (session.prefixes, session.prefixes_ipv6) == (3, 2)
    assert "spoke2.example.net" in pair.hub.type("show bgp ipv4 unicast summary wide")


def _weights(pair: Pair) -> set[int]:
    shown = [json.loads(pair.hub.type(f"show bgp {family} unicast json"))["routes"] for family in ("ipv4", "ipv6")]
    return {path.get("weight", 0) for routes in shown for paths in routes.values() for path in paths}


@pytest.mark.parametrize(("family", "maximum"), [("ipv4", 2), ("ipv6", 1)])
@needs_no_zebra
@pytest.mark.parametrize("pair", [(HUB, DUAL)], indirect=True)
async def test_a_flood_inside_a_peers_prefixes_ends_its_session(pair: Pair, family: str, maximum: int) -> None:
    """Only accepted prefixes count; bgpd shows that it waits for the restart."""
    # The speaker announces 4 IPv4 prefixes, of which 3 lie in the peer's own, and 2 IPv6 ones.
    peer = spoke(2, "192.168.2.0/24", "192.168.3.0/24", *(["2001:db8:2::/48"] if family == "ipv6" else []))
    peer = peer if family == "ipv4" else replace(peer, prefixes=peer.prefixes[2:])
    await pair.apply(desired([peer], replace(BOTH, maximum_prefix=MaximumPrefix(maximum + 1, 15))))
    until_now(lambda: pair.received(family) == maximum + 1)
    await pair.apply(desired([peer], replace(BOTH, maximum_prefix=MaximumPrefix(maximum, 15))))
    until_now(lambda: parse_bgp_summary(pair.hub.type(SUMMARY))[peer.protocol_address].over_limit)


PASSWORD = " password horse.battery!staple\n"
GROUPED = HUB.replace(
    " neighbor spokes passive\n",
    f" neighbor spokes passive\n neighbor spokes{PASSWORD} neighbor spokes bfd\n neighbor spokes timers 7 21\n",
)
SHARED = " neighbor 10.255.0.1 disable-connected-check\n"
KNOWING = SPEAKER.replace(SHARED, f"{SHARED} neighbor 10.255.0.1{PASSWORD}").replace(
    "timers bgp 1 3", "timers bgp 20 60"
)


@pytest.mark.parametrize("pair", [(GROUPED, KNOWING)], indirect=True)
async def test_password_bfd_and_timers_come_from_the_operators_peer_group(pair: Pair) -> None:
    """The agent's neighbor inherits them; they are not a difference, and the agent's lines are the remaining ones."""
    goal = desired([PEER], SETTINGS)
    await pair.apply(goal)
    until_now(lambda: pair.received() == 3)
    shown = pair.neighbor()
    assert shown["authenticationEnabled"] == 1
    assert shown["bgpTimerConfiguredHoldTimeMsecs"] == 21_000
    assert "peerBfdInfo" in shown
    snapshot = await pair.bgpd.observe()
    assert snapshot.config.neighbors == goal.neighbors
    assert "horse" not in repr(snapshot)

    # The operator changes the timers of the group: not a difference.
    pair.hub.type("configure terminal", "router bgp 65000", "neighbor spokes timers 5 15", "end")
    assert plan(goal, (await pair.bgpd.observe()).config).changes == ()
    assert pair.session()["connectionsEstablished"] == 1


@pytest.mark.parametrize("pair", [(GROUPED, SPEAKER)], indirect=True)
async def test_a_peer_without_the_groups_password_has_no_session(pair: Pair) -> None:
    """The kernel drops unsigned segments; with the password the session comes up."""
    await pair.apply(desired([PEER], SETTINGS))
    until_now(lambda: _unsigned(pair) > 0)
    assert pair.session()["state"] != "Established"
    pair.hub.type("configure terminal", "router bgp 65000", "no neighbor spokes password", "end")
    until_now(lambda: pair.received() == 3)


def _unsigned(pair: Pair) -> int:
    """Return how many segments the hub's kernel dropped because they bore no signature (RFC 2385)."""
    lines = Path(f"/proc/{pair.hub.pid}/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines[:2])
    return int(values[names.index("TCPMD5NotFound")])


async def test_a_changed_as_number_is_corrected_in_place(pair: Pair) -> None:
    """bgpd itself resets the session."""
    wrong = desired([replace(PEER, as_number=64515)], SETTINGS)
    await pair.apply(wrong)
    right = desired([PEER], SETTINGS)
    changes = plan(right, (await pair.bgpd.observe()).config).changes
    assert [type(change) for change in changes] == [SetNeighbor]
    await pair.apply(right)
    until_now(lambda: pair.received() == 3)
