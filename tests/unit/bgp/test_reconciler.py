"""Keeping FRR in step, over a model of bgpd."""

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


async def test_an_accepted_peer_gets_what_it_is_entitled_to(node: Node) -> None:
    """Neighbor and filter stand, and the state says so."""
    async with node.running():
        node.accept(2)
        await node.settled()
    assert node.configured() == {"10.255.0.2"}
    assert {str(prefix) for prefix in node.bgpd.model.permitted("10.255.0.2")} == {
        "192.168.2.0/24", "192.168.2.64/26",
    }  # fmt: skip
    assert node.reconciler.pending == ()
    assert node.telemetry.value(bgp_metrics.CHANGES, "SetNeighbor", "applied") == 1


async def test_what_was_accepted_while_bgpd_was_down_is_applied_when_it_is_back(node: Node) -> None:
    """Decisions go on; the plan waits."""
    node.bgpd.down = True
    async with node.running():
        node.accept(2)
        await until(lambda: node.reconciler.trouble)
        assert node.reconciler.trouble == "bgpd is not running"
        node.accept(3)
        node.bgpd.down = False
        await node.settled()
    assert node.configured() == {"10.255.0.2", "10.255.0.3"}


async def test_trouble_is_said_once(node: Node, logs: list[dict[str, Any]]) -> None:
    """An hour without bgpd is one line, not a thousand."""
    node.bgpd.down = True
    async with node.running():
        for _ in range(5):
            await node.attempt()
    assert [entry["event"] for entry in logs].count("reconcile_failed") == 1


async def test_one_refused_change_does_not_keep_the_others_from_being_applied(node: Node) -> None:
    """The batch stops at the refused one; the rest goes one by one, and trouble is told."""
    node.bgpd.refuse = lambda line: line.startswith("neighbor 10.255.0.2 peer-group")
    async with node.running():
        for number in (2, 3, 4):
            node.accept(number)
        await until(lambda: node.reconciler.trouble)
    model = node.bgpd.model
    assert {address for address, item in model.neighbors.items() if item.peer_group} == {"10.255.0.3", "10.255.0.4"}
    assert "FRR lacks 1 changes" in str(node.reconciler.trouble)
    assert node.telemetry.value(bgp_metrics.CHANGES, "SetNeighbor", "refused") >= 1


async def test_what_counts_on_a_refused_change_is_left_out(node: Node) -> None:
    """An entry that cannot be removed keeps new ones out of the same list, or both could be announced."""
    async with node.running():
        node.accept(2, "192.168.1.0/24")
        await node.settled()
        node.bgpd.refuse = lambda line: line.startswith("no ip prefix-list")
        node.accept(2, "192.168.2.0/24")
        await until(lambda: node.reconciler.trouble)
    assert all("192.168.1." in str(prefix) for prefix in node.bgpd.model.permitted("10.255.0.2"))


async def test_a_burst_is_applied_together(node: Node) -> None:
    """Three hundred spokes at once are a few batches, not three hundred."""
    node.frr = replace(FRR, coalesce=0.05)
    node.start()
    async with node.running():
        await node.settled()
        for spoke in [accepted(2 + number % 250, f"192.168.{number % 250}.0/24") for number in range(300)]:
            node.apply_decision(*spoke)
            await asyncio.sleep(0)
        await until(lambda: len(node.configured()) == 250 and not node.reconciler.pending)
    assert len(node.bgpd.batches) <= 3


async def test_a_burst_while_bgpd_is_down_is_few_attempts(node: Node) -> None:
    """Each attempt starts a program; events do not outrun the coalescing time."""
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


async def test_an_edit_that_was_cut_off_before_its_refresh_is_judged_in_the_next_pass(node: Node) -> None:
    """bgpd's configuration does not tell that announcements were let in by the old filter: the agent remembers."""
    async with node.running():
        node.accept(2, "192.168.1.0/24", "192.168.2.0/24")
        await node.settled()
        assert len(node.bgpd.model.neighbors["10.255.0.2"].taken) > 3
        node.bgpd.breaks_after = 3  # configure terminal, remove the entry, end
        node.accept(2, "192.168.2.0/24")
        await until(lambda: node.reconciler.trouble)
        await node.settled()
    assert any(isinstance(change, RefreshInbound) for change in node.bgpd.batches[-1])
    taken = node.bgpd.model.neighbors["10.255.0.2"].taken
    assert taken == node.bgpd.model.permitted("10.255.0.2")
    assert not any("192.168.1." in str(prefix) for prefix in taken)


async def test_without_nhrpd_nobody_departs(node: Node) -> None:
    """That the cache cannot be read does not mean that it is empty."""
    node.accept(2)
    node.nhrpd.cache = None
    for _ in range(3):
        node.clock.advance(10_000)
        await node.bindings.refresh()
    assert len(node.peers) == 1
    assert node.bindings.trouble == "nhrpd is not running"


async def test_a_peer_that_left_is_taken_back_after_the_linger_time(node: Node) -> None:
    """Its neighbor and its list go, and the departure is counted."""
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


async def test_a_restart_changes_nothing(node: Node) -> None:
    """With its memory, the new process knows the peers and writes nothing."""
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


async def test_without_its_memory_neighbors_are_kept_until_the_linger_time(node: Node) -> None:
    """Peers register again within it; what nobody claimed by then goes."""
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


async def test_an_orphan_with_an_operators_list_leaves_that_list_alone(node: Node) -> None:
    """The agent writes into no list but its own."""
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


async def test_a_foreign_neighbor_is_told(node: Node, logs: list[dict[str, Any]]) -> None:
    """The operator's neighbor stays; the log says what to do."""
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
    ("spoil", "told"),
    [
        (lambda model: setattr(model, "as_number", None), "FRR has no BGP instance; add `router bgp 65000`"),
        (lambda model: setattr(model, "as_number", 65001), "FRR runs `router bgp 65001`"),
        (lambda model: model.groups.clear(), "FRR has no peer-group spokes"),
    ],
)
async def test_what_the_operator_has_to_add_is_told(
    node: Node, spoil: Callable[[BgpdModel], None], told: str
) -> None:
    """Nothing is written into a bgpd that is not set up for it."""
    spoil(node.bgpd.model)
    async with node.running():
        node.accept(2)
        await until(lambda: node.reconciler.trouble)
    assert told in str(node.reconciler.trouble)
    assert node.bgpd.batches == []


async def test_a_session_that_ended_at_its_limit_is_counted(node: Node) -> None:
    """bgpd waits for the restart, and says so in the state."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
        node.bgpd.over_limit = {"10.255.0.3"}
        observe_reconciler(node.telemetry, node.reconciler)
        assert node.telemetry.value(bgp_metrics.NEIGHBORS_OVER_LIMIT) == 0
        await node.settled()
    assert node.telemetry.value(bgp_metrics.NEIGHBORS_OVER_LIMIT) == 1


async def test_only_our_sessions_are_exported(node: Node) -> None:
    """The operator's neighbors are his to watch."""
    node.bgpd.model.run(["configure terminal", "router bgp 65000", "neighbor 10.255.0.77 remote-as 1"])
    async with node.running():
        node.accept(2)
        await node.settled()
        await node.settled()
    assert [str(address) for address, _ in node.reconciler.sessions()] == ["10.255.0.2"]


async def test_peers_that_share_an_as_number_are_shown_with_whose_prefixes_they_drop(node: Node) -> None:
    """Of the others' number only; the model's group has no ``as-override``."""
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
