"""nhrpd's entries in a real kernel that nhrpd does not know any more."""

from datetime import timedelta
from ipaddress import ip_address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.routes.netlink_entries import NetlinkEntries
from dmvpn_agent.kernel.routes.stale_entries import StaleEntries
from dmvpn_agent.runtime.telemetry import Telemetry

pytestmark = [pytest.mark.contract, needs("ip")]
KNOWN, UNKNOWN, IPV6 = "10.255.0.8", "10.255.0.9", "2001:db8:ff::9"


class Node:
    """``bound``: nhrpd's cache; a read of it takes place when the agent asks for one, a second later."""

    def __init__(self, *, dry_run: bool = False) -> None:
        self.now = timedelta(hours=1)
        self.last_read: timedelta | None = self.now
        self.bound: set[Address] = {ip_address(KNOWN)}
        self.telemetry = Telemetry()
        entries = NetlinkEntries(["gre1"])
        self.stale = StaleEntries(entries, self, self.telemetry, lambda: self.now, dry_run=dry_run)
        for words in (
            "link add gre1 type veth peer name p0",
            "link add other type veth peer name p1",
            "link set gre1 up",
            "link set other up",
            "link set p0 up",
            "address add 10.255.0.1/32 dev gre1",
            "address add 2001:db8:ff::1/128 dev gre1 nodad",
            *(f"route add {address} dev gre1 proto nhrp" for address in (KNOWN, UNKNOWN, IPV6)),
            "route add 10.255.0.7 dev other proto nhrp",
            "route add 10.255.0.6 dev gre1",
            f"neigh add {KNOWN} lladdr 02:00:00:00:00:01 nud noarp dev gre1 protocol nhrp",
            f"neigh add {UNKNOWN} lladdr 02:00:00:00:00:01 nud noarp dev gre1 protocol nhrp",
            "neigh add 10.255.0.5 lladdr 02:00:00:00:00:01 dev gre1",
        ):
            command("ip", *words.split())

    def trigger(self) -> None:
        self.now += timedelta(seconds=1)
        self.last_read = self.now

    async def check(self, seconds: int) -> None:
        """Check once a second."""
        for _ in range(seconds):
            await self.stale.check()

    def left(self) -> str:
        return command("ip", "neigh") + command("ip", "route") + command("ip", "-6", "route")


@in_network_namespace
async def test_what_the_cache_has_lacked_for_30_s_is_removed() -> None:
    """What nhrpd knows stays, and everybody else's."""
    node = Node()
    before = node.left()
    await node.check(30)
    assert node.left() == before
    await node.check(1)
    left = node.left()
    assert UNKNOWN not in left
    assert IPV6 not in left
    for address in (KNOWN, "10.255.0.5", "10.255.0.6", "10.255.0.7"):
        assert address in left
    assert node.telemetry.value(metrics.STALE_ENTRIES, "route") == 2
    assert node.telemetry.value(metrics.STALE_ENTRIES, "neighbour") == 1


@in_network_namespace
async def test_one_that_nhrpd_has_after_all_stays() -> None:
    """The peer was away for a while."""
    node = Node()
    await node.check(30)
    node.bound |= {ip_address(UNKNOWN), ip_address(IPV6)}
    before = node.left()
    await node.check(60)
    assert node.left() == before


@in_network_namespace
async def test_a_read_of_before_removes_nothing() -> None:
    """The peer may have registered since, and nhrpd does not restore what is taken from it."""
    node = Node()
    await node.check(30)
    before = node.left()
    node.now += timedelta(seconds=2)
    await node.stale.check()
    assert node.left() == before


@in_network_namespace
async def test_a_cache_that_was_never_read_says_nothing() -> None:
    """Nor does one that cannot be read any more."""
    node = Node()
    before, node.last_read = node.left(), None
    await node.stale.check()
    node.last_read = node.now - timedelta(hours=1)
    for _ in range(40):
        await node.stale.check()
        node.last_read = node.now - timedelta(hours=1)
    assert node.left() == before


@in_network_namespace
async def test_a_dry_run_removes_nothing() -> None:
    """It logs what it would remove."""
    node = Node(dry_run=True)
    before = node.left()
    await node.check(40)
    assert node.left() == before
