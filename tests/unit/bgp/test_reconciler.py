"""The reconciler on a model of bgpd."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.bgp import metrics as bgp_metrics
from dmvpn_agent.bgp.gauges import observe_reconciler
from dmvpn_agent.bgp.plan import RefreshInbound
from dmvpn_agent.view.status import frr_status, peers_status
from factories import FRR
from fakes.bgpd_model import BgpdModel
from fakes.node import Node, accepted
from fakes.waiting import until


async def test_an_accepted_peer_gets_its_neighbor_and_filter(node: Node) -> None:
    """FRR is in sync afterwards."""
    async with node.running():
        node.accept(2)
        await node.settled()
    assert node.configured() == {"10.255.0.2"}
    assert {str(prefix) for prefix in node.bgpd.model.permitted("10.255.0.2")} == {
        "192.168.2.0/24", "192.168.2.64/26",
    }  # fmt: skip
    assert node.reconciler.pending == ()
    assert node.telemetry.value(bgp_metrics.CHANGES, "SetNeighbor", "applied") == 1


async def test_peers_accepted_during_an_outage_of_bgpd_are_written_after_it(node: Node) -> None:
    """Decisions do not wait for bgpd."""
    node.bgpd.down = True
    async with node.running():
        node.accept(2)
        await until(lambda: node.reconciler.trouble)
        assert node.reconciler.trouble == "bgpd is not running"
        node.accept(3)
        node.bgpd.down = False
        await node.settled()
    assert node.configured() == {"10.255.0.2", "10.255.0.3"}


async def test_an_outage_is_logged_once(node: Node, logs: list[dict[str, Any]]) -> None:
    """However many passes fail."""
    node.bgpd.down = True
    async with node.running():
        for _ in range(5):
            await node.attempt()
    assert [entry["event"] for entry in logs].count("reconcile_failed") == 1


async def test_a_refused_change_does_not_delay_the_others(node: Node) -> None:
    """The batch ends at the refused change; the remaining ones are written one by one."""
    node.bgpd.refuse = lambda line: line.startswith("neighbor 10.255.0.2 peer-group")
    async with node.running():
        for number in (2, 3, 4):
            node.accept(number)
        await until(lambda: node.reconciler.trouble)
    model = node.bgpd.model
    assert {address for address, item in model.neighbors.items() if item.peer_group} == {"10.255.0.3", "10.255.0.4"}
    assert "FRR lacks 1 changes" in str(node.reconciler.trouble)
    assert node.telemetry.value(bgp_metrics.CHANGES, "SetNeighbor", "refused") >= 1


async def test_changes_that_depend_on_a_refused_one_wait(node: Node) -> None:
    """If an entry cannot be removed, no entry is added to the list: both could be announced."""
    async with node.running():
        node.accept(2, "192.168.1.0/24")
        await node.settled()
        node.bgpd.refuse = lambda line: line.startswith("no ip prefix-list")
        node.accept(2, "192.168.2.0/24")
        await until(lambda: node.reconciler.trouble)
    assert all("192.168.1." in str(prefix) for prefix in node.bgpd.model.permitted("10.255.0.2"))


async def test_a_burst_of_peers_is_written_in_a_few_batches(node: Node) -> None:
    """Three hundred peers need at most three."""
    node.frr = replace(FRR, coalesce=0.05)
    node.start()
    async with node.running():
        await node.settled()
        for spoke in [accepted(2 + number % 250, f"192.168.{number % 250}.0/24") for number in range(300)]:
            node.apply_decision(*spoke)
            await asyncio.sleep(0)
        await until(lambda: len(node.configured()) == 250 and not node.reconciler.pending)
    assert len(node.bgpd.batches) <= 3


async def test_a_burst_during_an_outage_causes_few_attempts(node: Node) -> None:
    """Events do not shorten the back-off below the coalescing time: each attempt starts a program."""
    node.frr = replace(FRR, coalesce=0.05)
    node.start()
    node.bgpd.down = True
    async with node.running():
        await until(lambda: node.reconciler.trouble)
        for spoke in [accepted(2 + number) for number in range(200)]:
            node.apply_decision(*spoke)
            await asyncio.sleep(0)
        attempts = node.bgpd.attempts
        await until(lambda: node.bgpd.attempts > attempts)
    assert node.bgpd.attempts <= 5


async def test_a_refresh_that_was_cut_off_is_made_up_in_the_next_pass(node: Node) -> None:
    """bgpd's configuration does not show that a refresh is pending: the agent remembers it."""
    async with node.running():
        node.accept(2, "192.168.1.0/24", "192.168.2.0/24")
        await node.settled()
        assert len(node.bgpd.model.neighbors["10.255.0.2"].accepted) > 3
        node.bgpd.breaks_after = 3  # configure terminal, remove the entry, end
        node.accept(2, "192.168.2.0/24")
        await until(lambda: node.reconciler.trouble)
        await node.settled()
    assert any(isinstance(change, RefreshInbound) for change in node.bgpd.batches[-1])
    taken = node.bgpd.model.neighbors["10.255.0.2"].accepted
    assert taken == node.bgpd.model.permitted("10.255.0.2")
    assert not any("192.168.1." in str(prefix) for prefix in taken)


async def test_no_peer_departs_while_nhrpd_is_down(node: Node) -> None:
    """An unreadable cache is not an empty one."""
    node.accept(2)
    node.nhrpd.cache = None
    for _ in range(3):
        node.clock.advance(10_000)
        await node.bindings.refresh()
    assert len(node.peers) == 1
    assert node.bindings.trouble == "nhrpd is not running"


async def test_a_peer_that_left_loses_its_neighbor_after_the_linger_time(node: Node) -> None:
    """Its list goes too, and the departure is counted."""
    async with node.running():
        node.accept(2)
        node.nhrpd.cache = frozenset({ip_address("10.255.0.2")})
        await node.bindings.refresh()
        await node.settled()
        node.nhrpd.cache = frozenset()
        await node.bindings.refresh()
        node.clock.advance(600)
        await node.bindings.refresh()
        await node.settled()
        assert node.configured() == {"10.255.0.2"}
        node.clock.advance(1)
        await node.bindings.refresh()
        await node.settled()
    assert node.configured() == set()
    assert node.bgpd.model.lists == {}
    assert node.telemetry.value(admission_metrics.PEER_DEPARTURES, "left") == 1


async def test_a_restart_of_the_agent_changes_nothing(node: Node) -> None:
    """It loads the peers from its store and writes nothing."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
    batches = len(node.bgpd.batches)
    node.start()
    async with node.running():
        await until(lambda: node.reconciler.last_sync)
    assert len(node.peers) == 2
    assert len(node.bgpd.batches) == batches


async def test_if_the_store_is_lost_neighbors_stay_until_the_linger_time(node: Node) -> None:
    """Peers register again in the meantime; the other neighbors are removed."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
    node.store.rows.clear()
    node.start()
    async with node.running():
        await node.passed()
        assert node.configured() == {"10.255.0.2", "10.255.0.3"}
        node.accept(2)
        await node.passed()
        assert node.configured() == {"10.255.0.2", "10.255.0.3"}
        node.clock.advance(601)
        await node.settled()
    assert node.configured() == {"10.255.0.2"}
    assert set(node.bgpd.model.lists) == {"dmvpn-agent-10.255.0.2-in"}


async def test_a_stale_neighbors_operator_list_is_not_touched(node: Node) -> None:
    """The agent writes only its own lists."""
    model = node.bgpd.model
    model.run(
        [
            "configure terminal",
            "ip prefix-list operators seq 5 deny 10.0.0.0/8",
            "router bgp 65000",
            "neighbor 10.255.0.2 remote-as 64514",
            "neighbor 10.255.0.2 description dmvpn-agent certificate 00",
            "address-family ipv4 unicast",
            "neighbor 10.255.0.2 prefix-list operators in",
        ]
    )
    before = model.running_config()
    async with node.running():
        await node.passed()
    assert model.running_config() == before


async def test_an_operators_neighbor_is_reported(node: Node, logs: list[dict[str, Any]]) -> None:
    """It stays; the log says what to do."""
    node.bgpd.model.run(
        [
            "configure terminal",
            "router bgp 65000",
            "neighbor 10.255.0.2 remote-as 1",
            "neighbor 10.255.0.2 description me",
        ]
    )
    async with node.running():
        node.accept(2)
        await node.settled()
    assert node.reconciler.operator_neighbors == (ip_address("10.255.0.2"),)
    assert node.bgpd.batches == []
    assert "neighbor_not_ours" in [entry["event"] for entry in logs]


@pytest.mark.parametrize(
    ("misconfigure", "message"),
    [
        (lambda model: setattr(model, "as_number", None), "FRR has no BGP instance; add `router bgp 65000`"),
        (lambda model: setattr(model, "as_number", 65001), "FRR runs `router bgp 65001`"),
        (lambda model: model.groups.clear(), "FRR has no peer-group spokes"),
    ],
)
async def test_a_missing_instance_or_group_is_reported(
    node: Node, misconfigure: Callable[[BgpdModel], None], message: str
) -> None:
    """The agent writes nothing until the operator adds it."""
    misconfigure(node.bgpd.model)
    async with node.running():
        node.accept(2)
        await until(lambda: node.reconciler.trouble)
    assert message in str(node.reconciler.trouble)
    assert node.bgpd.batches == []


async def test_a_session_that_ended_at_its_limit_is_counted(node: Node) -> None:
    """bgpd shows it as ``Idle (PfxCt)``."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
        node.bgpd.over_limit = {"10.255.0.3"}
        observe_reconciler(node.telemetry, node.reconciler)
        assert node.telemetry.value(bgp_metrics.NEIGHBORS_OVER_LIMIT) == 0
        await node.settled()
    assert node.telemetry.value(bgp_metrics.NEIGHBORS_OVER_LIMIT) == 1


async def test_only_sessions_of_the_agents_neighbors_are_exported(node: Node) -> None:
    """Not those of operators' neighbors."""
    node.bgpd.model.run(["configure terminal", "router bgp 65000", "neighbor 10.255.0.77 remote-as 1"])
    async with node.running():
        node.accept(2)
        await node.settled()
        await node.settled()
    assert [str(address) for address, _ in node.reconciler.sessions()] == ["10.255.0.2"]


async def test_the_status_names_the_peers_whose_prefixes_a_peer_drops(node: Node) -> None:
    """Those with its own AS number: the model's group has no ``as-override``."""
    async with node.running():
        for number in (2, 3, 4):
            request, decision = accepted(number)
            assert decision.peer is not None
            node.apply_decision(
                request, replace(decision, peer=replace(decision.peer, as_number=64512 + (number > 3)))
            )
        await node.settled()
    shown = {
        peer["protocol_address"]: peer["bgp"] for peer in peers_status(node.peers, node.reconciler, node.clock.both)
    }
    assert {address: bgp["drops_prefixes_of"] for address, bgp in shown.items()} == {
        "10.255.0.2": ["10.255.0.3"], "10.255.0.3": ["10.255.0.2"], "10.255.0.4": [],
    }  # fmt: skip
    (problem,) = (frr_status(node.reconciler) or {})["problems"]
    assert problem["kind"] == "shared_as_number"
    assert "as-override" in problem["do"]
