"""The part that keeps the tunnels on a working uplink, over a fake kernel."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.routes.tables import DEFAULT, Route, Rule
from dmvpn_agent.kernel.uplink.keeper import UplinkKeeper
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import Target, Uplink, UplinkSettings
from dmvpn_agent.kernel.uplink.tunnel_local import TunnelError
from dmvpn_agent.runtime.telemetry import Telemetry

FIRST, SECOND = IPv4Interface("192.0.2.9/24"), IPv4Interface("198.51.100.9/24")
TARGET = (Target(IPv4Address("203.0.113.1")),)
SETTINGS = UplinkSettings(("gre1",), (Uplink("e0", targets=TARGET), Uplink("e1", targets=TARGET)), fall=3, rise=2)


class Node:
    """Two uplinks and a tunnel. ``stubborn``: the kernel accepts a change and does not make it."""

    def __init__(self, telemetry: Telemetry, settings: UplinkSettings = SETTINGS, *, dry_run: bool = False) -> None:
        self.conditions = {"e0": Condition(FIRST, running=True), "e1": Condition(SECOND, running=True)}
        self.local: IPv4Address | None = FIRST.ip
        self.absent = self.stubborn = False
        self.moves = 0
        self.keeper = UplinkKeeper(settings, self, telemetry, self._moved, dry_run=dry_run)
        self.keeper.keep()

    def _moved(self) -> None:
        self.moves += 1

    def condition(self, interface: str) -> Condition:
        return self.conditions[interface]

    def local_address(self, tunnel: str) -> IPv4Address | None:
        if self.absent:
            raise TunnelError(f"{tunnel} is no IPv4 GRE interface, or is gone: No such device")
        return self.local

    def set_local_address(self, tunnel: str, address: IPv4Address) -> None:
        self.local_address(tunnel)
        self.local = self.local if self.stubborn else address

    def probed(self, interface: str, *answers: bool) -> None:
        for answered in answers:
            self.keeper.note(interface, answered=answered)
            self.keeper.keep()


@pytest.fixture
def node(telemetry: Telemetry) -> Node:
    return Node(telemetry)


def test_the_tunnel_moves_when_its_uplink_has_failed(node: Node, telemetry: Telemetry) -> None:
    """To the next one, after ``fall`` rounds without an answer."""
    node.probed("e1", True, True)
    node.probed("e0", False, False)
    assert node.local == FIRST.ip
    node.probed("e0", False)
    assert (node.keeper.chosen, node.local, node.moves) == ("e1", SECOND.ip, 1)
    assert telemetry.value(metrics.TUNNEL_MOVES, "moved") == 1
    assert telemetry.value(metrics.UPLINK_SWITCHES, "e1") == 1


def test_it_returns_when_the_preferred_one_works_again(node: Node) -> None:
    """After ``rise`` rounds."""
    node.probed("e1", True, True)
    node.probed("e0", False, False, False, True)
    assert node.local == SECOND.ip
    node.probed("e0", True)
    assert node.local == FIRST.ip


def test_an_uplink_without_a_carrier_fails_at_once(node: Node) -> None:
    """No probe is needed."""
    node.probed("e1", True, True)
    node.conditions["e0"] = Condition(FIRST, running=False)
    node.keeper.keep()
    assert node.local == SECOND.ip


def test_where_no_uplink_works_the_tunnel_stays(node: Node) -> None:
    """Moving it would help nobody."""
    node.probed("e0", False, False, False)
    assert node.local == FIRST.ip


def test_a_new_address_of_the_uplink_is_the_tunnels(node: Node) -> None:
    """DHCP, PPPoE, WWAN."""
    node.conditions["e0"] = Condition(running=True)
    node.keeper.keep()
    node.conditions["e0"] = Condition(IPv4Interface("192.0.2.77/24"), running=True)
    node.keeper.keep()
    assert (str(node.local), node.keeper.chosen, node.moves) == ("192.0.2.77", "e0", 1)


def test_a_restart_keeps_the_second_uplink(telemetry: Telemetry) -> None:
    """Until the first one has proved that it works."""
    node = Node(telemetry)
    node.local = SECOND.ip
    node.keeper = UplinkKeeper(SETTINGS, node, telemetry, lambda: None)
    node.keeper.keep()
    assert (node.keeper.chosen, node.local) == ("e1", SECOND.ip)
    node.probed("e0", True, True)
    assert node.local == FIRST.ip


def test_a_tunnel_that_is_absent_is_moved_when_it_is_there(node: Node, logs: list[dict[str, Any]]) -> None:
    """The trouble is reported once."""
    node.absent, node.local = True, IPv4Address("192.0.2.200")
    for _ in range(3):
        node.keeper.keep()
    node.absent = False
    node.keeper.keep()
    assert node.local == FIRST.ip
    assert [entry["event"] for entry in logs].count("tunnel_not_moved") == 1


def test_a_change_that_the_kernel_does_not_show_is_a_failure(node: Node, telemetry: Telemetry) -> None:
    """It is tried again."""
    node.stubborn, node.local = True, IPv4Address("192.0.2.200")
    node.keeper.keep()
    assert telemetry.value(metrics.TUNNEL_MOVES, "failed") == 1
    node.stubborn = False
    node.keeper.keep()
    assert node.local == FIRST.ip


def test_a_dry_run_moves_nothing(telemetry: Telemetry, logs: list[dict[str, Any]]) -> None:
    """It logs what it would do, once."""
    node = Node(telemetry, dry_run=True)
    node.probed("e1", True, True)
    node.probed("e0", False, False, False, False)
    assert node.local == FIRST.ip
    assert [entry["event"] for entry in logs].count("would_move_tunnel") == 1


def test_an_uplink_with_a_gateway_has_a_table_of_its_own(telemetry: Telemetry) -> None:
    """Its probes and the packets from its address use it."""
    gateway = IPv4Address("198.51.100.1")
    uplinks = (Uplink("e0"), Uplink("e1", gateway))
    node = Node(telemetry, replace(SETTINGS, uplinks=uplinks))
    tables = node.keeper.tables(())
    assert tables.routes == {
        Route(7701, DEFAULT, "e1", gateway),
        Route(7701, IPv4Network("198.51.100.0/24"), "e1"),
    }
    assert tables.rules == {Rule(7700, 7701, source=SECOND.ip), Rule(7700, 7701, interface="e1")}
    node.conditions["e1"] = Condition()
    assert node.keeper.tables(()).routes == set()
