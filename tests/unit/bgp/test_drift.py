"""An operator edits the agent's configuration in FRR, or FRR restarts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import FRR
from fakes.bgpd_model import BgpdModel
from fakes.frr_states import UNIVERSE
from fakes.node import Node
from fakes.waiting import until

BGP = ("configure terminal", "router bgp 65000")
LIST = "ip prefix-list dmvpn-agent-10.255.0.2-in"
NEIGHBOR = "neighbor 10.255.0.2"


def _logged(logs: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [entry for entry in logs if entry["event"] == event]


def _repairs(telemetry: Telemetry) -> dict[str, float]:
    return {labels[0]: value for labels, value in telemetry.samples(metrics.DRIFT_REPAIRS).items()}


@contextmanager
def _nothing_logged(logs: list[dict[str, Any]]) -> Iterator[None]:
    logs.clear()
    yield
    assert not _logged(logs, "drift")
    assert not _logged(logs, "frr_restarted")


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ((*BGP, f"no {NEIGHBOR}"), {"10.255.0.2": "neighbor_removed"}),
        ((*BGP, f"{NEIGHBOR} remote-as 1"), {"10.255.0.2": "neighbor_changed"}),
        ((*BGP, f"no {NEIGHBOR}", f"{NEIGHBOR} remote-as 64514", f"{NEIGHBOR} description dmvpn-agent x",
          f"{NEIGHBOR} peer-group others"), {"10.255.0.2": "neighbor_changed"}),
        ((*BGP, "neighbor 10.255.0.9 remote-as 9", "neighbor 10.255.0.9 description dmvpn-agent x"),
         {"10.255.0.9": "neighbor_added"}),
        (("configure terminal", f"no {LIST}"), {"dmvpn-agent-10.255.0.2-in": "prefix_list_removed"}),
        (("configure terminal", f"{LIST} seq 1 permit any"), {"dmvpn-agent-10.255.0.2-in": "prefix_list_changed"}),
        (("configure terminal", "ip prefix-list dmvpn-agent-x-in seq 1 deny any"),
         {"dmvpn-agent-x-in": "prefix_list_added"}),
        ((*BGP, f"no {NEIGHBOR}", "end", "configure terminal", f"no {LIST}"),
         {"10.255.0.2": "neighbor_removed", "dmvpn-agent-10.255.0.2-in": "prefix_list_removed"}),
    ],
)  # fmt: skip
async def test_an_edit_is_reverted_logged_and_counted(
    node: Node, logs: list[dict[str, Any]], typed: tuple[str, ...], what: dict[str, str]
) -> None:
    """At the resync, without any event. The log has the difference, the metric its kind."""
    node.frr = replace(FRR, resync_interval=0.01)
    node.start()
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
        before = node.bgpd.model.running_config()
        node.bgpd.model.run(typed)
        assert node.bgpd.model.running_config() != before
        await until(lambda: _repairs(node.telemetry))
    assert sorted(node.bgpd.model.running_config().splitlines()) == sorted(before.splitlines())
    (entry,) = _logged(logs, "drift")
    assert entry["what"] == what
    assert entry["repair"]
    assert _repairs(node.telemetry) == {kind: list(what.values()).count(kind) for kind in what.values()}
    assert not _logged(logs, "frr_restarted")


async def test_the_agents_own_changes_are_not_drift(node: Node, logs: list[dict[str, Any]]) -> None:
    """Peers come, change and leave, a batch is cut off, an operator removes his own neighbor."""
    model = node.bgpd.model
    model.run([*BGP, "neighbor 10.255.0.4 remote-as 1", "neighbor 10.255.0.4 description me"])
    with _nothing_logged(logs):
        async with node.running():
            for number in (2, 3, 4):
                node.accept(number)
            await node.settled()
            node.accept(2, "192.168.9.0/24")
            await node.settled()
            node.bgpd.breaks_after = 3
            node.accept(2, "192.168.8.0/24")
            await until(lambda: node.reconciler.trouble)
            await node.settled()
            model.run([*BGP, "no neighbor 10.255.0.4"])
            await node.settled()
    assert node.configured() == {"10.255.0.2", "10.255.0.3", "10.255.0.4"}
    assert _repairs(node.telemetry) == {}


async def test_a_neighbor_that_an_operator_takes_over_is_not_drift(node: Node, logs: list[dict[str, Any]]) -> None:
    """The agent logs ``neighbor_not_ours`` and leaves it alone."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
        with _nothing_logged(logs):
            node.bgpd.model.run([*BGP, f"{NEIGHBOR} description mine"])
            await node.settled()
            assert _logged(logs, "neighbor_not_ours")


async def test_drift_that_cannot_be_reverted_is_logged_once(node: Node, logs: list[dict[str, Any]]) -> None:
    """It is counted when it is reverted."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.refuse = lambda line: line.startswith(LIST)
        node.bgpd.model.run(["configure terminal", f"no {LIST}"])
        for _ in range(3):
            await node.attempt()
        assert _repairs(node.telemetry) == {}
        node.bgpd.refuse = lambda line: False
        await node.settled()
    assert len(_logged(logs, "drift")) == 1
    assert _repairs(node.telemetry) == {"prefix_list_removed": 1}


async def test_a_later_edit_is_logged_again(node: Node, logs: list[dict[str, Any]]) -> None:
    """Each reverted edit counts."""
    async with node.running():
        node.accept(2)
        for _ in range(3):
            await node.settled()
            node.bgpd.model.run(["configure terminal", f"no {LIST}"])
        await node.settled()
    assert len(_logged(logs, "drift")) == 3
    assert _repairs(node.telemetry) == {"prefix_list_removed": 3}


async def test_an_edit_is_detected_among_other_changes(node: Node, logs: list[dict[str, Any]]) -> None:
    """The neighbor of a new peer in the same plan is not drift."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.model.run(["configure terminal", f"no {LIST}"])
        node.accept(3)
        await node.settled()
    (entry,) = _logged(logs, "drift")
    assert entry["what"] == {"dmvpn-agent-10.255.0.2-in": "prefix_list_removed"}


async def test_a_restart_of_frr_is_not_drift(node: Node, logs: list[dict[str, Any]]) -> None:
    """FRR returns with the operator's configuration only: the agent writes its own, and logs the restart once."""
    async with node.running():
        node.accept(2)
        node.accept(3)
        await node.settled()
        node.bgpd.down = True
        await node.attempt()
        node.bgpd.model = BgpdModel(UNIVERSE)
        node.bgpd.model.as_number = None  # as long as it has not read its configuration
        node.bgpd.down = False
        for _ in range(3):
            await node.attempt()
        node.bgpd.model.as_number = 65000
        await node.settled()
    assert node.configured() == {"10.255.0.2", "10.255.0.3"}
    assert len(_logged(logs, "frr_restarted")) == 1
    assert not _logged(logs, "drift")
    assert node.telemetry.value(metrics.FRR_RESTARTS) == 1
    assert _repairs(node.telemetry) == {}


async def test_a_restart_with_an_older_saved_configuration_is_not_drift(
    node: Node, logs: list[dict[str, Any]]
) -> None:
    """Some neighbors are there and unchanged, but no session is: that shows the restart."""
    async with node.running():
        node.accept(2)
        await node.settled()
        saved = [line for batch in node.bgpd.batches for line in render(batch, Instance(65000))]
        node.accept(3)
        node.bgpd.established = {"10.255.0.2", "10.255.0.3"}
        await node.settled()
        node.bgpd.model, node.bgpd.established = BgpdModel(UNIVERSE), set()
        node.bgpd.model.run(saved)
        await node.settled()
    assert len(_logged(logs, "frr_restarted")) == 1
    assert not _logged(logs, "drift")


async def test_removing_the_only_neighbor_with_a_session_is_drift(node: Node, logs: list[dict[str, Any]]) -> None:
    """Without sessions, only unchanged neighbors show a restart."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.established = {"10.255.0.2"}
        await node.settled()
        node.bgpd.model.run([*BGP, f"no {NEIGHBOR}"])
        await node.settled()
    assert [entry["what"] for entry in _logged(logs, "drift")] == [{"10.255.0.2": "neighbor_removed"}]
    assert not _logged(logs, "frr_restarted")
