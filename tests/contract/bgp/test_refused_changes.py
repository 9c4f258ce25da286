"""Changes that bgpd refuses because of what an operator wrote."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, TypeGuard

import pytest

from contract.frr import SPEAKER, RealBgpd, available
from contract.operators_bgp import Hub, config, write
from dmvpn_agent.bgp.bgpd import FrrRefused
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import Change, RemoveNeighbor, SetNeighbor, plan, subject
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from factories import SETTINGS, Clock
from fakes.node import accepted
from fakes.waiting import until_now

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd"),
    pytest.mark.usefixtures("retries_after_the_test"),
]


async def test_a_refused_change_waits_and_the_others_do_not(fresh: RealBgpd, logs: list[dict[str, Any]]) -> None:
    """Another peer's change is written at once."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        hub.bgpd.refuses = lambda change: subject(change) == "dmvpn-agent-10.255.0.3-in"
        hub.peers.apply_decision(*accepted(3, "192.168.3.128/25"), Clock().uptime())
        await hub.another_pass()
        assert "% refused" in str(hub.reconciler.trouble)
        writes = len(hub.bgpd.writes)
        hub.peers.apply_decision(*accepted(2, "192.168.2.128/25"), Clock().uptime())
        await hub.another_pass()
    assert len(hub.bgpd.writes) == writes + 1
    assert "192.168.2.128/25" in fresh.type("show running-config")
    assert [entry["event"] for entry in logs].count("change_refused") == 1


#: What an operator types so that bgpd refuses the agent's list: «Prefix/distribute list can not co-exist».
REPLACED = "no neighbor 10.255.0.3 prefix-list dmvpn-agent-10.255.0.3-in in"
FILTERS = ["neighbor spokes distribute-list some in", "neighbor 10.255.0.3 distribute-list some in"]


@pytest.mark.parametrize("theirs", FILTERS, ids=["group", "neighbor"])
async def test_a_neighbor_that_bgpd_refuses_its_filter_is_written_anew(
    fresh: RealBgpd, logs: list[dict[str, Any]], theirs: str
) -> None:
    """The operator's filter permits more than the certificate: 192.168.0.0/16. Another neighbor is left alone."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        writes = len(hub.bgpd.writes)
        fresh.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast", REPLACED, theirs)
        await hub.until_idle()
        assert (hub.reconciler.trouble, hub.neighbors()) == (None, {"10.255.0.2", "10.255.0.3"})
    assert "neighbor 10.255.0.3 prefix-list dmvpn-agent-10.255.0.3-in in" in fresh.type("show running-config")
    removed = [change.address for batch in hub.bgpd.writes[writes:] for change in batch if _removes(change)]
    assert removed == [ip_address("10.255.0.3")]
    assert [entry["event"] for entry in logs].count("filter_refused") == 1


async def test_a_neighbor_that_cannot_have_its_filter_is_removed(fresh: RealBgpd) -> None:
    """The filter of its group alone may permit more."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        hub.bgpd.refuses = lambda change: isinstance(change, SetNeighbor)
        fresh.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast", REPLACED)
        await hub.another_pass()
        assert hub.neighbors() == {"10.255.0.2"}
        assert "10.255.0.3" in str(hub.reconciler.trouble)


def _removes(change: Change) -> TypeGuard[RemoveNeighbor]:
    return isinstance(change, RemoveNeighbor)


async def test_a_dynamic_session_is_reported_until_the_listen_range_is_removed() -> None:
    """bgpd refuses a neighbor at its address. After that the agent writes its own."""
    text = config("bgp listen range 10.255.0.0/24 peer-group spokes", group=["remote-as 64514", "passive"])
    real = RealBgpd(text)
    real.start()
    speaker = RealBgpd(SPEAKER, namespace=real.pid, address="10.255.0.2")
    speaker.start()
    try:
        until_now(lambda: '"state":"Established"' in real.type("show bgp ipv4 unicast summary json"))
        hub = Hub(real, peers=(2,))
        async with hub.running():
            await hub.until_idle()
            assert hub.bgpd.writes == []
            assert hub.kinds == {Kind.LISTEN_RANGE, Kind.DYNAMIC_NEIGHBOR}
            assert "10.255.0.2" in str(hub.reconciler.trouble)
            assert "remove `bgp listen range 10.255.0.0/24 peer-group spokes`" in str(hub.reconciler.trouble)
            with pytest.raises(FrrRefused, match="dynamic neighbor"):
                await hub.bgpd.apply(_neighbor_alone(hub))
            real.type("configure terminal", "router bgp 65000", "no bgp listen range 10.255.0.0/24 peer-group spokes")
            await hub.until_idle()
        assert (hub.reconciler.trouble, hub.neighbors()) == (None, {"10.255.0.2"})
    finally:
        speaker.stop()
        real.stop()


def _neighbor_alone(hub: Hub) -> Sequence[Change]:
    changes = plan(desired(hub.peers, SETTINGS), Observed(65000)).changes
    return [change for change in changes if isinstance(change, SetNeighbor)]
