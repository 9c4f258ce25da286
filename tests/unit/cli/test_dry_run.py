"""``run --dry-run``: the agent reads and decides everything, and changes nothing."""

import asyncio
from typing import Any

import pytest

from dmvpn_agent.bgp import metrics as bgp_metrics
from dmvpn_agent.bgp.plan import SetNeighbor
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.shown_table import ShownTable
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.status import frr_status
from dmvpn_agent.view.status_text import _frr
from fakes.node import Node
from fakes.waiting import until


def _changes(logs: list[dict[str, Any]]) -> list[str]:
    return [entry["change"] for entry in logs if entry["event"] == "would_change"]


@pytest.fixture
def dry(node: Node) -> Node:
    node.dry_run = True
    node.start()
    return node


async def test_frr_is_not_changed_and_each_change_is_logged_once(dry: Node, logs: list[dict[str, Any]]) -> None:
    """In any number of passes. FRR does not count as in sync."""
    async with dry.running():
        dry.accept(2)
        await until(lambda: len(_changes(logs)) == 3)
        for _ in range(3):
            await dry.attempt()
        assert len(_changes(logs)) == 3
        dry.accept(3)
        await until(lambda: len(_changes(logs)) == 6)
        await until(lambda: len(dry.reconciler.pending) == 6)
    assert "neighbor 10.255.0.2: add it: AS 64514" in _changes(logs)[2]
    assert dry.bgpd.batches == []
    assert dry.reconciler.last_sync is None
    assert dry.telemetry.value(bgp_metrics.RECONCILES, "dry_run") >= 2
    state = frr_status(dry.reconciler)
    assert state is not None
    assert state["in_sync"] is False
    assert sorted(state["pending_changes"]) == sorted(_changes(logs))
    assert _frr(state, True) == "DRY RUN: 6 changes not made; `dmvpn-agent plan` shows them"


async def test_frr_is_in_sync_after_the_operator_made_the_changes(dry: Node, logs: list[dict[str, Any]]) -> None:
    """As during a migration: a change to a prefix-list does not stay pending after bgpd has applied it."""
    async with dry.running():
        dry.accept(2)
        await until(lambda: _changes(logs))
        change = dry.reconciler.pending[2]
        assert isinstance(change, SetNeighbor)
        dry.bgpd.model.run(
            [
                "configure terminal",
                "ip prefix-list dmvpn-agent-10.255.0.2-in seq 4294967295 deny any",
                "router bgp 65000",
                "neighbor 10.255.0.2 remote-as 64514",
                f"neighbor 10.255.0.2 description {change.neighbor.description}",
                "address-family ipv4 unicast",
                "neighbor 10.255.0.2 prefix-list dmvpn-agent-10.255.0.2-in in",
                "exit-address-family",
                "neighbor 10.255.0.2 peer-group spokes",
                "end",
            ]
        )
        dry.reconciler.trigger()
        await until(lambda: len(dry.reconciler.pending) == 2)  # the entry, and its judging
        dry.bgpd.model.run(["configure terminal", "ip prefix-list dmvpn-agent-10.255.0.2-in seq 5 permit"
                            " 192.168.2.0/24 le 26"])  # fmt: skip
        await dry.settled()
    assert dry.reconciler.pending == ()
    assert dry.reconciler.last_sync is not None


class _Firewall:
    """Implements ``Firewall``."""

    def __init__(self) -> None:
        self.table: ShownTable | None = None
        self.reads = 0
        self.installed = False

    async def show(self) -> ShownTable | None:
        self.reads += 1
        return self.table

    async def install(self, sections: tuple[Section, ...]) -> None:
        self.installed = True

    async def change(self, script: str) -> None:
        self.installed = True

    async def refusal(self, section: Section) -> str:
        raise AssertionError

    async def remove(self) -> None:
        self.installed = True


async def test_the_table_is_not_written(telemetry: Telemetry, logs: list[dict[str, Any]]) -> None:
    """The agent logs once for each state of the table that it would write it."""
    firewall = _Firewall()
    settings = TableSettings((), RedirectRule(("gre1",), 1, 24, 24, 4, 1))
    keeper = TableReconciler(settings, tuple, firewall, telemetry, dry_run=True)
    task = asyncio.ensure_future(keeper.run())

    async def read() -> None:
        reads = firewall.reads
        keeper.trigger()
        await until(lambda: firewall.reads > reads)

    for _ in range(3):
        await read()
    assert keeper.installed is False
    firewall.table = ShownTable({})
    for _ in range(3):
        await read()
    assert keeper.installed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not firewall.installed
    assert [entry["table"] for entry in logs if entry["event"] == "would_write_nftables"] == [
        "missing", "there, and replaced",
    ]  # fmt: skip
    first, second = (entry["commands"] for entry in logs if entry["event"] == "would_write_nftables")
    assert first[1] == "delete table inet dmvpn_agent"
    assert second[0] == "flush table inet dmvpn_agent"
    assert telemetry.samples(kernel_metrics.NFTABLES_WRITES) == {}
