"""The agent's routing tables in a real kernel."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.routes.tables import DEFAULT, Route, Rule, Tables
from dmvpn_agent.runtime.telemetry import Telemetry

pytestmark = [pytest.mark.contract, needs("ip")]
GATEWAY, PEER = IPv4Address("192.0.2.1"), IPv4Network("203.0.113.5/32")
WANTED = Tables(
    frozenset(
        {
            Route(7700, IPv4Network("192.0.2.0/24"), "e0"),
            Route(7700, DEFAULT, "e0", GATEWAY),
            Route(7790, PEER, "e0", GATEWAY, mtu=1300),
        }
    ),
    frozenset(
        {Rule(7700, 7700, source=IPv4Address("192.0.2.9")), Rule(7700, 7700, interface="e0"), Rule(7790, 7790)}
    ),
)


def _uplink() -> None:
    for words in (
        "link set lo up",
        "link add e0 type veth peer name p0",
        "link set e0 up",
        "link set p0 up",
        "address add 192.0.2.9/24 dev e0",
    ):
        command("ip", *words.split())


class Node:
    def __init__(self, desired: Tables, *, dry_run: bool = False) -> None:
        self.desired = desired
        self.reconciler = RouteReconciler(lambda _: self.desired, NetlinkTables(), Telemetry(), dry_run=dry_run)


@in_network_namespace
async def test_they_are_written_used_and_removed() -> None:
    """The kernel shows them as they were wanted, and routes by them."""
    _uplink()
    node = Node(WANTED)
    await node.reconciler.check()
    assert node.reconciler.observed == WANTED
    assert "table 7700" in command("ip", "route", "get", "198.51.100.7", "oif", "e0")
    assert "mtu 1300" in command("ip", "route", "get", "203.0.113.5")
    node.desired = Tables()
    await node.reconciler.check()
    assert node.reconciler.observed == Tables()


@in_network_namespace
async def test_what_is_flushed_is_back(logs: list[dict[str, object]]) -> None:
    """With the next check."""
    _uplink()
    node = Node(WANTED)
    await node.reconciler.check()
    command("ip", "route", "flush", "table", "7700")
    command("ip", "rule", "del", "priority", "7790")
    await node.reconciler.check()
    assert node.reconciler.observed == WANTED


@in_network_namespace
async def test_an_operators_routes_and_rules_stay() -> None:
    """Also in the same table."""
    _uplink()
    command(*["ip", "route", "add", "198.51.100.0/24", "dev", "e0", "table", "7700"])
    command(*["ip", "rule", "add", "from", "198.51.100.9", "lookup", "7700", "priority", "7700"])
    node = Node(WANTED)
    await node.reconciler.check()
    node.desired = Tables()
    await node.reconciler.check()
    assert "198.51.100.0/24" in command("ip", "route", "show", "table", "7700")
    assert "198.51.100.9" in command("ip", "rule", "show")


@in_network_namespace
async def test_a_refusal_is_reported_once(logs: list[dict[str, object]]) -> None:
    """A gateway that is not on the interface's network: the next check tries again."""
    _uplink()
    node = Node(Tables(frozenset({Route(7700, DEFAULT, "e0", IPv4Address("198.51.100.1"))})))
    await node.reconciler.check()
    await node.reconciler.check()
    (logged,) = [entry for entry in logs if entry["event"] == "routes_not_changed"]
    assert "via 198.51.100.1 dev e0" in str(logged["why"])


@in_network_namespace
async def test_a_dry_run_writes_nothing(logs: list[dict[str, object]]) -> None:
    """It logs the changes once."""
    _uplink()
    node = Node(WANTED, dry_run=True)
    await node.reconciler.check()
    await node.reconciler.check()
    assert node.reconciler.observed == Tables()
    assert [entry["event"] for entry in logs].count("would_change_routes") == 1
