"""The configurations frr/*-ibgp.conf in real bgpds: one AS, a route reflector, the agent's neighbors."""

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from contract.frr import RealBgpd, available
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_lab.frr_config import lacking
from factories import spoke
from fakes.waiting import until_now
from placeholders import render

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

CHECKOUT = Path(__file__).parents[3]
#: The groups of deploy/agent.dmvpn-ca.hub.toml and .spoke.toml.
ON_HUB = BgpSettings(65000, "spokes", "hubs", "spokes-ibgp", "hubs-ibgp")
ON_SPOKE = BgpSettings(65000, "hubs", "", "hubs-ibgp", only_hubs=True)
NUMBERS = (2, 3)
#: A hub with an AS number of its own, for the first of them.
OTHER_HUB = """\
router bgp 65003
 bgp router-id 10.255.0.9
 no bgp ebgp-requires-policy
 neighbor 10.255.0.2 remote-as 65000
 neighbor 10.255.0.2 passive
 neighbor 10.255.0.2 disable-connected-check
 neighbor 10.255.0.2 update-source 10.255.0.9
 neighbor 10.255.0.2 advertisement-interval 0
"""


def bgp_part(file: str, number: int, lan: str = "") -> str:
    """Return bgpd's part of a file in frr/, for the node 10.255.0.<number>."""
    values = {
        "AS_NUMBER": 65000, "PROTOCOL_ADDRESS": f"10.255.0.{number}", "TUNNEL_NETWORK": "10.255.0.0/24",
        "LAN_NETWORK": lan or f"192.168.{number}.0/24", "HUB_PROTOCOL_ADDRESS": [], "HUB_NBMA_ADDRESS": [],
    }  # fmt: skip
    text = render((CHECKOUT / "frr" / file).read_text(), values)
    lists = [line for line in text.splitlines() if line.startswith(("ip prefix-list", "bgp as-path"))]
    # Without zebra there is no route to the network, and without nhrpd nothing to redistribute.
    router = text[text.index("router bgp") :].replace("  redistribute nhrp\n", "")
    return "\n".join((*lists, router.replace("\n no bgp default", "\n no bgp network import-check\n no bgp default")))


class Network:
    """A hub and two spokes, in one network namespace, each bgpd at an address of its own.

    ``site`` is what lies behind both spokes; by default each has a network of its own.
    """

    def __init__(self, site: str = "") -> None:
        self.site = site
        self.hub = RealBgpd(bgp_part("hub-ibgp.conf", 1))
        self.hub.start()
        self.spokes = [
            RealBgpd(bgp_part("spoke-ibgp.conf", number, site), namespace=self.hub.pid, address=f"10.255.0.{number}")
            for number in NUMBERS
        ]
        for one in self.spokes:
            one.start()

    def stop(self) -> None:
        for one in (*self.spokes, self.hub):
            one.stop()

    async def write(self, *other_hubs: Peer) -> None:
        """Have an agent on each node write its neighbors, and see that nothing is left to write."""
        prefixes = (self.site,) if self.site else ()
        await self._write(self.hub, desired([_internal(spoke(number, *prefixes)) for number in NUMBERS], ON_HUB))
        for number, bgpd in zip(NUMBERS, self.spokes, strict=True):
            await self._write(bgpd, desired([_hub(), *other_hubs], ON_SPOKE))
            own = f"update-source 10.255.0.{number}"
            bgpd.type("configure terminal", "router bgp 65000", f"neighbor hubs-ibgp {own}", f"neighbor hubs {own}")

    async def _write(self, bgpd: RealBgpd, goal: Desired) -> None:
        adapter = bgpd.adapter()
        await adapter.apply(plan(goal, (await adapter.observe()).config).changes)
        assert plan(goal, (await adapter.observe()).config).changes == ()


def _internal(peer: Peer) -> Peer:
    return replace(peer, as_number=65000)


def _hub() -> Peer:
    carried = ((ip_network("192.168.0.0/16"), 26), (ip_network("10.255.0.0/24"), 32))
    return replace(_internal(spoke(1)), kind=PeerKind.HUB, prefixes=(), transit=carried)


def routes(bgpd: RealBgpd) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(bgpd.type("show bgp ipv4 unicast json"))["routes"]
    return found


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    network = Network(getattr(request, "param", ""))
    yield network
    network.stop()


@pytest.mark.parametrize("file", ["hub-ibgp.conf", "spoke-ibgp.conf"])
def test_bgpd_keeps_every_line(file: str, network: Network) -> None:
    """And shows it."""
    bgpd, number = (network.hub, 1) if "hub" in file else (network.spokes[0], 2)
    assert lacking(bgp_part(file, number), bgpd.type("show running-config")) == []


async def test_sites_learn_each_others_routes_from_the_hub(network: Network) -> None:
    """The hub reflects them and is the next hop; it keeps single protocol addresses to itself."""
    await network.write()
    until_now(lambda: "192.168.3.0/24" in routes(network.spokes[0]))
    (path,) = routes(network.spokes[0])["192.168.3.0/24"]
    assert [hop["ip"] for hop in path["nexthops"]] == ["10.255.0.1"]
    assert set(routes(network.spokes[0])) == {"192.168.1.0/24", "192.168.2.0/24", "192.168.3.0/24", "10.255.0.0/24"}


@pytest.mark.parametrize("network", ["192.168.9.0/24"], indirect=True)
async def test_a_site_with_two_routers_is_reached_by_one_of_them(network: Network) -> None:
    """The hub has both routes and uses one, not half of the packets by each."""
    await network.write()
    until_now(lambda: len(routes(network.hub).get("192.168.9.0/24", [])) == 2)
    paths = json.loads(network.hub.type("show bgp ipv4 unicast 192.168.9.0/24 json"))["paths"]
    taken = [path for path in paths if path.get("bestpath") or path.get("multipath")]
    assert [hop["ip"] for path in taken for hop in path["nexthops"]] == ["10.255.0.2"]


async def test_a_site_announces_only_its_own_networks(network: Network) -> None:
    """Not what it learned from a hub, not even to a hub of another AS, where iBGP's own rule does not apply."""
    other = RealBgpd(OTHER_HUB, namespace=network.hub.pid, address="10.255.0.9")
    other.start()
    try:
        await network.write(replace(_hub(), protocol_address=ip_address("10.255.0.9"), as_number=65003, identity="9"))
        until_now(lambda: "192.168.3.0/24" in routes(network.spokes[0]) and "192.168.2.0/24" in routes(other))
        assert set(routes(other)) == {"192.168.2.0/24"}
        shown = json.loads(
            network.spokes[0].type("show bgp ipv4 unicast neighbors 10.255.0.9 advertised-routes json")
        )
        assert set(shown["advertisedRoutes"]) == {"192.168.2.0/24"}
    finally:
        other.stop()
