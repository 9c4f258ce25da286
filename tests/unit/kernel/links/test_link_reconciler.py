"""The reconciler of the tunnel interfaces: drift, refusals, fights and dry runs."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_interface
from typing import Any

import pytest

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.events import AddressEvent, LinkEvent, Resync
from dmvpn_agent.kernel.links.changes import AddAddress, CreateLink, SetMtu, SetUp
from dmvpn_agent.kernel.links.contest import ROUNDS, TRUCE
from dmvpn_agent.kernel.links.observed import Gre, ObservedLink
from dmvpn_agent.kernel.links.problem import Kind
from dmvpn_agent.kernel.links.reconciler import LinkReconciler
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.links import FakeLinks

ADDRESS = ip_interface("10.255.0.1/32")
GRE1 = TunnelSettings(
    "gre1", manages=True, local=IPv4Address("192.0.2.1"), key=42, mtu=1400, addresses=(ADDRESS,), up=True
)


class Stand:
    def __init__(self, settings: TunnelSettings = GRE1, *, dry_run: bool = False) -> None:
        self.now = timedelta()
        self.kernel = FakeLinks()
        self.telemetry = Telemetry()
        self.reconciler = LinkReconciler(
            {"gre1": settings}, self.kernel, self.telemetry, Clocks(uptime=lambda: self.now), dry_run=dry_run
        )

    def repairs(self, cause: str) -> float:
        return self.telemetry.value(metrics.TUNNEL_REPAIRS, cause)

    @property
    def kinds(self) -> list[Kind]:
        return [problem.kind for problem in self.reconciler.problems]


async def test_the_interface_is_made_once() -> None:
    """The second pass has nothing to do, and nothing counts as repaired."""
    stand = Stand()
    assert not await stand.reconciler.reconcile()
    made = list(stand.kernel.applied)
    assert [type(change) for change in made] == [CreateLink, AddAddress, SetUp]
    await stand.reconciler.reconcile()
    assert stand.kernel.applied == made
    assert stand.reconciler.in_sync() == {("gre1",): 1}
    assert sum(stand.telemetry.samples(metrics.TUNNEL_REPAIRS).values()) == 0


@pytest.mark.parametrize(
    ("fields", "cause"),
    [({"mtu": 1476}, "mtu"), ({"up": False}, "down"), ({"addresses": frozenset()}, "address")],
)
async def test_drift_is_repaired_logged_and_counted(
    fields: dict[str, Any], cause: str, logs: list[dict[str, Any]]
) -> None:
    """By cause, after the interface was as configured."""
    stand = Stand()
    await stand.reconciler.reconcile()
    stand.kernel.change("gre1", **fields)
    await stand.reconciler.reconcile()
    assert stand.repairs(cause) == 1
    assert [entry["cause"] for entry in logs if entry["event"] == "tunnel_repaired"] == [cause]
    assert stand.reconciler.in_sync() == {("gre1",): 1}


async def test_a_fight_is_stopped_and_reported_once(logs: list[dict[str, Any]]) -> None:
    """After some rounds the agent leaves the thing alone; after the truce it tries again."""
    stand = Stand()
    await stand.reconciler.reconcile()
    for _ in range(ROUNDS + 3):
        stand.kernel.change("gre1", mtu=1476)
        await stand.reconciler.reconcile()
        stand.now += timedelta(seconds=2)
    assert stand.repairs("mtu") == ROUNDS
    assert stand.kinds == [Kind.CONTESTED]
    assert len([entry for entry in logs if entry["event"] == "tunnel_problem"]) == 1
    stand.kernel.change("gre1", up=False)
    await stand.reconciler.reconcile()
    assert stand.repairs("down") == 1  # the rest is still kept
    stand.now += TRUCE
    await stand.reconciler.reconcile()
    assert stand.kernel.links["gre1"].mtu == 1400
    assert stand.kinds == []


async def test_rare_changes_are_no_fight() -> None:
    """An operator who changes the MTU once a minute is corrected each time."""
    stand = Stand()
    await stand.reconciler.reconcile()
    for _ in range(ROUNDS * 3):
        stand.kernel.change("gre1", mtu=1476)
        await stand.reconciler.reconcile()
        stand.now += timedelta(minutes=1)
    assert stand.repairs("mtu") == ROUNDS * 3


async def test_a_fight_over_the_interface_itself_is_stopped() -> None:
    """Nothing is tried at an interface that is not made."""
    stand = Stand()
    await stand.reconciler.reconcile()
    for _ in range(ROUNDS + 3):
        stand.kernel.links.pop("gre1", None)
        await stand.reconciler.reconcile()
    assert stand.repairs("missing") == ROUNDS
    assert stand.kinds == [Kind.CONTESTED]
    assert stand.telemetry.value(metrics.TUNNEL_FAILURES, "refused") == 0


async def test_a_refused_change_does_not_stop_the_others() -> None:
    """It is reported with its remedy, and tried again in the next pass."""
    stand = Stand()
    await stand.reconciler.reconcile()
    stand.kernel.change("gre1", mtu=1476, up=False)
    stand.kernel.refuses = {SetMtu}
    assert await stand.reconciler.reconcile()
    assert stand.kernel.links["gre1"].up
    assert stand.kinds == [Kind.NO_PERMISSION]
    assert stand.telemetry.value(metrics.TUNNEL_FAILURES, "no_permission") == 1
    stand.kernel.refuses = set()
    assert not await stand.reconciler.reconcile()
    assert stand.reconciler.in_sync() == {("gre1",): 1}


async def test_another_kind_of_interface_is_not_touched() -> None:
    """The agent reports it."""
    stand = Stand()
    stand.kernel.links["gre1"] = ObservedLink(7, "veth", mtu=1500)
    await stand.reconciler.reconcile()
    assert stand.kernel.applied == []
    assert stand.kinds == [Kind.NOT_GRE]
    assert stand.reconciler.in_sync() == {("gre1",): 0}


async def test_an_unmanaged_interface_is_only_reported(logs: list[dict[str, Any]]) -> None:
    """Each difference once, as the command that would correct it."""
    stand = Stand(TunnelSettings("gre1", mtu=1400))
    stand.kernel.links["gre1"] = ObservedLink(7, "gre", mtu=1476, gre=Gre())
    for _ in range(3):
        await stand.reconciler.reconcile()
    assert stand.kernel.applied == []
    (entry,) = [entry for entry in logs if entry["event"] == "tunnel_differs"]
    assert entry["do"] == "ip link set gre1 mtu 1400"


async def test_a_dry_run_changes_nothing(logs: list[dict[str, Any]]) -> None:
    """It logs each command once."""
    stand = Stand(dry_run=True)
    for _ in range(3):
        await stand.reconciler.reconcile()
    assert stand.kernel.applied == []
    assert len([entry for entry in logs if entry["event"] == "would_change_tunnel"]) == 3


async def test_an_interface_without_settings_is_not_looked_at() -> None:
    """That is every interface after an upgrade."""
    stand = Stand(TunnelSettings("gre1"))
    assert not await stand.reconciler.reconcile()
    assert stand.reconciler.in_sync() == {}


async def test_a_reload_is_no_drift() -> None:
    """New values are applied, and do not count as repairs; an address that the agent added before goes."""
    stand = Stand()
    await stand.reconciler.reconcile()
    other = ip_interface("10.255.0.9/32")
    stand.kernel.change("gre1", addresses=stand.kernel.links["gre1"].addresses | {ip_interface("10.9.0.1/24")})
    stand.reconciler.reload({"gre1": TunnelSettings("gre1", manages=True, mtu=1300, addresses=(other,))})
    await stand.reconciler.reconcile()
    link = stand.kernel.links["gre1"]
    assert (link.mtu, link.addresses) == (1300, frozenset({other, ip_interface("10.9.0.1/24")}))
    assert sum(stand.telemetry.samples(metrics.TUNNEL_REPAIRS).values()) == 0


@pytest.mark.parametrize(
    ("event", "starts"),
    [
        (LinkEvent(3, "gre1", present=False), True),
        (LinkEvent(3, "eth7", present=False), False),
        (AddressEvent(3, "gre1", ADDRESS, present=False), True),
        (AddressEvent(3, "eth7", ADDRESS, present=False), False),
        (Resync("overrun"), True),
    ],
)
async def test_only_the_tunnels_events_start_a_pass(event: Any, starts: bool) -> None:
    """And those after which anything may have changed."""
    stand = Stand()
    stand.reconciler.kernel_changed(event)
    assert stand.reconciler._trigger._event.is_set() is starts


async def test_an_interface_whose_local_address_others_keep_gets_the_last_one_again() -> None:
    """``[uplink]`` changes it: the agent does not change it back, and a new interface begins with it."""
    stand = Stand(replace(GRE1, local=None))
    await stand.reconciler.reconcile()
    other = IPv4Address("198.51.100.1")
    made = stand.kernel.links["gre1"].gre
    assert made
    stand.kernel.change("gre1", gre=replace(made, local=other))
    await stand.reconciler.reconcile()
    del stand.kernel.links["gre1"]
    await stand.reconciler.reconcile()
    found = stand.kernel.links["gre1"].gre
    assert found
    assert found.local == other
    assert stand.repairs("tunnel") == 0
    assert stand.repairs("missing") == 1
