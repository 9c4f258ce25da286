"""A BGP instance of a VRF in a real bgpd, beside the default one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from contract.frr import HUB, RealBgpd, available
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import RefreshInbound, plan
from dmvpn_agent.bgp.problem import BgpProblemKind
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.frr.vtysh import Vtysh
from dmvpn_agent.policy.peer import Peer
from factories import SETTINGS
from fakes.node import accepted

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

RED = Instance(65000, "red")
#: The default instance has a neighbor at the address that a peer has in the VRF.
DEFAULT = """\
router bgp 65999
 bgp router-id 10.255.0.1
 neighbor 10.255.0.2 remote-as 64999
 neighbor 10.255.0.2 description dmvpn-agent mine
"""
BY_RED = replace(SETTINGS, vrf="red")


@pytest.fixture(scope="module")
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd(HUB.replace("router bgp 65000", "router bgp 65000 vrf red") + DEFAULT)
    bgpd.start()
    yield bgpd
    bgpd.stop()


def _adapter(bgpd: RealBgpd, writer: str = "vtysh", instance: Instance = RED) -> FrrBgpd:
    vtysh, vty = Vtysh(str(bgpd.vtysh), 15), VtySockets(bgpd.directory, 15)
    return FrrBgpd(vty, vty if writer == "vty" else vtysh, instance)


def _default(bgpd: RealBgpd) -> str:
    """The default instance as bgpd prints it."""
    return bgpd.type("show running-config").split("router bgp 65999\n")[1].split("\nexit\n")[0]


def _peer(number: int) -> Peer:
    peer = accepted(number, f"192.168.{number}.0/24")[1].peer
    assert peer
    return peer


@pytest.mark.parametrize("writer", ["vtysh", "vty"])
async def test_neighbors_are_written_and_removed_in_the_vrf_alone(bgpd: RealBgpd, writer: str) -> None:
    """Read back they are as desired; the default instance does not change, although it has the same address."""
    adapter, before = _adapter(bgpd, writer), _default(bgpd)
    peers = [_peer(number) for number in (2, 3)]
    wanted = desired(peers, BY_RED)
    observed = (await adapter.observe()).config
    assert (observed.as_number, dict(observed.neighbors)) == (65000, {})
    assert observed.operator.other_instances == ("router bgp 65999",)
    await adapter.apply(plan(wanted, observed).changes)
    observed = (await adapter.observe()).config
    assert plan(wanted, observed).changes == ()
    assert set(observed.neighbors) == {peer.protocol_address for peer in peers}
    await adapter.apply([RefreshInbound(peers[0].protocol_address, ipv6=False)])
    await adapter.apply(plan(Desired(), observed).changes)
    observed = (await adapter.observe()).config
    assert dict(observed.neighbors) == {}
    assert _default(bgpd) == before


async def test_sessions_of_the_vrf_are_read(bgpd: RealBgpd) -> None:
    """Not those of the default instance."""
    adapter = _adapter(bgpd)
    peer = _peer(2)
    await adapter.apply(plan(desired([peer], BY_RED), (await adapter.observe()).config).changes)
    in_red = set((await adapter.observe()).sessions)
    in_default = set((await _adapter(bgpd, instance=Instance(65999)).observe()).sessions)
    await adapter.apply(plan(Desired(), (await adapter.observe()).config).changes)
    assert in_default == {peer.protocol_address}
    assert in_red <= {peer.protocol_address}  # bgpd lists none while zebra has not reported the VRF
    assert set((await adapter.observe()).sessions) == set()


async def test_a_vrf_without_instance_is_named(bgpd: RealBgpd) -> None:
    """With the line to add."""
    observed = (await _adapter(bgpd, instance=Instance(65000, "blue")).observe()).config
    assert observed.as_number is None
    (problem, *_) = bgp_problems(observed, replace(SETTINGS, vrf="blue"), Desired())
    assert problem.kind is BgpProblemKind.NO_INSTANCE
    assert problem.do == "add `router bgp 65000 vrf blue`"
