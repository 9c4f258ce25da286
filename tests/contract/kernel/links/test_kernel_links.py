"""Tunnel interfaces in a real kernel, by netlink, and the same in the fake. GRE needs a kernel that has it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

import pytest

from contract.namespaces import command, in_network_namespace, kernel_makes, needs
from dmvpn_agent.doctor.neighbours import neighbour_differences
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.events import AddressEvent, LinkEvent
from dmvpn_agent.kernel.links.changes import (
    AddAddress,
    CreateLink,
    LinkChange,
    RemoveAddress,
    RemoveLink,
    SetGre,
    SetMtu,
    SetMulticast,
    SetSysctl,
    SetUp,
    SetVrf,
)
from dmvpn_agent.kernel.links.kernel_links import KernelLinks, LinkError
from dmvpn_agent.kernel.links.observed import Gre, Observed, ObservedLink
from dmvpn_agent.kernel.links.plan import plan
from dmvpn_agent.kernel.links.problem import Kind
from dmvpn_agent.kernel.links.read_preview import own_changes
from dmvpn_agent.kernel.links.reconciler import LinkReconciler
from dmvpn_agent.kernel.links.settings import Sysctl, TunnelSettings
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("ip")]

ADDRESS = ip_interface("10.255.0.1/32")
IPV6 = ip_interface("2001:db8:ff::1/128")
GRE1 = TunnelSettings(
    "gre1",
    manages=True,
    local=IPv4Address("192.0.2.1"),
    key=42,
    mtu=1400,
    addresses=(ADDRESS, IPV6),
    multicast=True,
    up=True,
    forwards=True,
    rp_filter=2,
    uses_pmtu=True,
)
CREATE = CreateLink("gre1", Gre(GRE1.local, 42, 64), GRE1)


gre = pytest.mark.skipif(not kernel_makes("gre local 192.0.2.1 key 1"), reason="this kernel has no GRE")
no_gre = pytest.mark.skipif(kernel_makes("gre local 192.0.2.1 key 1"), reason="this kernel has GRE")
vrf = pytest.mark.skipif(not kernel_makes("vrf table 10"), reason="this kernel has no VRF")


async def _observe(*tunnels: TunnelSettings) -> Observed:
    return await KernelLinks().observe(tunnels)


async def _link(name: str = "gre1") -> ObservedLink:
    return (await _observe()).links[name]


async def _apply(*changes: LinkChange) -> None:
    for change in changes:
        await KernelLinks().apply(change)


def _other() -> None:
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")


@in_network_namespace
async def test_mtu_state_and_multicast_are_set_and_read_back() -> None:
    """Of any kind of interface."""
    _other()
    await _apply(SetMtu("gre1", 1400), SetUp("gre1", up=True), SetMulticast("gre1", on=False))
    link = await _link()
    assert (link.kind, link.mtu, link.up, link.multicast) == ("veth", 1400, True, False)
    await _apply(SetUp("gre1", up=False), SetMulticast("gre1", on=True))
    link = await _link()
    assert (link.up, link.multicast) == (False, True)


@in_network_namespace
async def test_an_address_that_the_agent_added_has_its_mark() -> None:
    """One of the operator's has none."""
    _other()
    theirs = ip_interface("10.9.0.1/24")
    command("ip", "address", "add", str(theirs), "dev", "gre1")
    await _apply(AddAddress("gre1", ADDRESS), AddAddress("gre1", IPV6))
    link = await _link()
    assert link.addresses == {ADDRESS, IPV6, theirs}
    assert link.marked == {ADDRESS, IPV6}
    await _apply(RemoveAddress("gre1", ADDRESS))
    assert (await _link()).addresses == {IPV6, theirs}


@in_network_namespace
async def test_a_missing_interface_is_named() -> None:
    """So is the command that failed."""
    for change in (SetMtu("gre1", 1400), AddAddress("gre1", ADDRESS), RemoveLink("gre1")):
        with pytest.raises(LinkError, match="there is no interface gre1") as raised:
            await _apply(change)
        assert raised.value.problem.kind is Kind.REFUSED


@in_network_namespace
async def test_a_value_that_the_kernel_refuses_is_named() -> None:
    """With the command."""
    _other()
    with pytest.raises(LinkError, match="ip link set gre1 mtu 10"):
        await _apply(SetMtu("gre1", 10))


@in_network_namespace
async def test_kernel_settings_are_written_and_read_back() -> None:
    """A namespace has its own."""
    _other()
    settings = replace(GRE1, addresses=(ADDRESS,))
    for sysctl in settings.sysctls():
        await _apply(SetSysctl("gre1", sysctl))
    found = await _observe(settings)
    assert found.sysctls == {sysctl.path: sysctl.value for sysctl in settings.sysctls()}
    with pytest.raises(LinkError, match=r"net\.ipv4\.no_such cannot be written") as raised:
        await _apply(SetSysctl("gre1", Sysctl("ipv4/no_such", 1)))
    assert raised.value.problem.kind is Kind.READ_ONLY


@no_gre
@in_network_namespace
async def test_a_kernel_without_gre_is_named() -> None:
    """The remedy is the module."""
    with pytest.raises(LinkError, match="modprobe ip_gre") as raised:
        await _apply(CREATE)
    assert raised.value.problem.kind is Kind.NO_GRE


@in_network_namespace
async def test_without_cap_net_admin_the_capability_is_named() -> None:
    """Another user may read, but not change."""
    _other()
    program = (
        "import asyncio, sys\n"
        "from dmvpn_agent.kernel.links.changes import SetMtu\n"
        "from dmvpn_agent.kernel.links.kernel_links import KernelLinks, LinkError\n"
        "async def main():\n"
        "    assert 'gre1' in (await KernelLinks().observe(())).links\n"
        "    try:\n"
        "        await KernelLinks().apply(SetMtu('gre1', 1400))\n"
        "    except LinkError as error:\n"
        "        print(error)\n"
        "asyncio.run(main())\n"
    )
    drop = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "CAP_NET_ADMIN" in command(*drop, sys.executable, "-c", program)


@gre
@in_network_namespace
async def test_an_mgre_interface_is_made_as_configured() -> None:
    """One pass, and nothing is left; it has the agent's mark and no link-local address."""
    reconciler = LinkReconciler({"gre1": GRE1}, KernelLinks(), Telemetry(), Clocks())
    assert not await reconciler.reconcile()
    assert reconciler.in_sync() == {("gre1",): 1}
    link = await _link()
    assert (link.ours, link.mtu, link.up, link.multicast) == (True, 1400, True, True)
    assert link.addresses == {ADDRESS, IPV6}
    assert link.gre
    assert (link.gre.local, link.gre.key, link.gre.ttl, link.gre.multipoint) == (GRE1.local, 42, 64, True)
    assert "remote any local 192.0.2.1 ttl 64 key 42" in command("ip", "tunnel", "show", "gre1")


@gre
@in_network_namespace
async def test_an_interface_of_the_operators_is_adopted_in_place() -> None:
    """Its index stays, so that nhrpd keeps it; what is not configured stays too."""
    command("ip", "link", "add", "gre1", "type", "gre", "local", "192.0.2.9", "key", "7", "ttl", "9", "tos", "0x10")
    command("ip", "address", "add", "10.9.0.1/24", "dev", "gre1")
    before = await _link()
    settings = TunnelSettings("gre1", manages=True, local=IPv4Address("192.0.2.1"), key=42, addresses=(ADDRESS,))
    for change in plan(settings, await _observe(settings)).changes:
        await _apply(change)
    after = await _link()
    assert after.index == before.index
    assert plan(settings, await _observe(settings)).changes == ()
    assert after.gre
    assert before.gre
    assert (after.gre.local, after.gre.key, after.gre.ttl) == (settings.local, 42, 9)
    assert after.gre.kept == before.gre.kept
    assert ip_interface("10.9.0.1/24") in after.addresses
    assert not after.ours


@gre
@in_network_namespace
async def test_every_gre_parameter_is_changed_in_place() -> None:
    """Local address, device, key and TTL; also to none."""
    command("ip", "link", "add", "wan", "type", "veth", "peer", "name", "far")
    command("ip", "link", "set", "wan", "up")
    await _apply(CREATE)
    start = await _link()
    wan = (await _link("wan")).index
    for wanted in (
        Gre(None, 42, 64, wan), Gre(IPv4Address("192.0.2.3"), 0, 1, wan), Gre(IPv4Address("192.0.2.3"), None, 0, 0),
        Gre(IPv4Address("192.0.2.1"), 2**32 - 1, 255, 0),
    ):  # fmt: skip
        await _apply(SetGre("gre1", wanted, ""))
        now = await _link()
        assert now.gre
        assert replace(now.gre, kept=()) == wanted
        assert now.index == start.index


@gre
@in_network_namespace
async def test_a_point_to_point_interface_is_made_anew() -> None:
    """The kernel cannot make it multipoint; the operator's address comes back."""
    theirs = ip_interface("10.9.0.1/24")
    command("ip", "link", "add", "gre1", "type", "gre", "local", "192.0.2.1", "remote", "192.0.2.2", "key", "42")
    command("ip", "address", "add", str(theirs), "dev", "gre1")
    reconciler = LinkReconciler({"gre1": GRE1}, KernelLinks(), Telemetry(), Clocks())
    assert not await reconciler.reconcile()
    link = await _link()
    assert link.gre
    assert link.gre.multipoint
    assert link.addresses == {ADDRESS, IPV6, theirs}
    assert link.marked == {ADDRESS, IPV6}


@asynccontextmanager
async def _kept(telemetry: Telemetry, settings: TunnelSettings = GRE1) -> AsyncIterator[LinkReconciler]:
    """Have the agent's parts keep the interface."""
    watch = KernelWatch(("gre1",), telemetry)
    reconciler = LinkReconciler({"gre1": settings}, KernelLinks(), telemetry, Clocks())
    watch.subscribe(reconciler.kernel_changed, LinkEvent, AddressEvent)
    async with running(watch.run()), running(reconciler.run()):
        await until(lambda: reconciler._settled)
        yield reconciler


@gre
@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("link delete gre1", "missing"),
        ("address delete 10.255.0.1/32 dev gre1", "address"),
        ("link set gre1 mtu 1300", "mtu"),
        ("link set gre1 multicast off", "multicast"),
        ("link set gre1 type gre local 192.0.2.1 key 43", "tunnel"),
        ("link set gre1 down", "down"),
    ],
)
def test_drift_is_repaired_at_once(words: str, cause: str) -> None:
    """By the kernel's notification: long before the next regular pass."""

    @in_network_namespace
    async def body() -> None:
        telemetry = Telemetry()
        async with _kept(telemetry):
            command("ip", *words.split())
            async with asyncio.timeout(2):
                while telemetry.value(metrics.TUNNEL_REPAIRS, cause) < 1 or plan(GRE1, await _observe(GRE1)).changes:
                    await asyncio.sleep(0.01)

    body()


@gre
@in_network_namespace
async def test_the_interface_waits_for_its_uplink() -> None:
    """The missing device is reported; when it appears, the interface is made."""
    settings = replace(GRE1, local=None, device="wan")
    telemetry = Telemetry()
    watch = KernelWatch(("gre1",), telemetry)
    reconciler = LinkReconciler({"gre1": settings}, KernelLinks(), telemetry, Clocks())
    watch.subscribe(reconciler.kernel_changed, LinkEvent, AddressEvent)
    async with running(watch.run()), running(reconciler.run()):
        await until(lambda: [problem.kind for problem in reconciler.problems] == [Kind.MISSING_DEVICE])
        command("ip", "link", "add", "wan", "type", "veth", "peer", "name", "far")
        await until(lambda: reconciler.in_sync() == {("gre1",): 1})
        wan = (await _link("wan")).index
        gre1 = (await _link()).gre
        assert gre1
        assert gre1.device == wan


@gre
@vrf
@in_network_namespace
async def test_the_interface_and_its_uplink_can_be_in_vrfs() -> None:
    """The tunnel in one; the uplink's VRF is the tunnel's device (front-door VRF)."""
    command("ip", "link", "add", "red", "type", "vrf", "table", "10")
    command("ip", "link", "add", "outside", "type", "vrf", "table", "20")
    reconciler = LinkReconciler(
        {"gre1": replace(GRE1, device="outside", vrf="red")}, KernelLinks(), Telemetry(), Clocks()
    )
    assert not await reconciler.reconcile()
    assert reconciler.in_sync() == {("gre1",): 1}
    link = await _link()
    assert link.master == (await _link("red")).index
    await _apply(SetVrf("gre1", ""))
    assert (await _link()).master == 0


@gre
@in_network_namespace
async def test_reset_removes_what_the_agent_made_and_nothing_else() -> None:
    """Its interface, and its addresses on an interface of the operator's."""
    command("ip", "link", "add", "gre2", "type", "gre", "local", "192.0.2.9", "key", "7")
    command("ip", "address", "add", "10.9.0.1/24", "dev", "gre2")
    gre2 = TunnelSettings("gre2", manages=True, addresses=(ADDRESS,))
    gre1 = replace(GRE1, addresses=(IPV6,))
    reconciler = LinkReconciler({"gre1": gre1, "gre2": gre2}, KernelLinks(), Telemetry(), Clocks())
    assert not await reconciler.reconcile()
    found = await own_changes(("gre1", "gre2"))
    assert found == (RemoveLink("gre1"), RemoveAddress("gre2", ADDRESS))
    await _apply(*found)
    left = (await _observe()).links
    assert "gre1" not in left
    assert left["gre2"].addresses == {ip_interface("10.9.0.1/24")}
    assert await own_changes(("gre1", "gre2")) == ()


def test_the_settings_are_below_proc_sys_net() -> None:
    """They exist in this kernel."""
    for path in ("ipv4/ip_forward", "ipv4/ip_forward_use_pmtu", "ipv4/conf/lo/rp_filter"):
        assert Path("/proc/sys/net", path).exists()


@in_network_namespace
async def test_the_kernel_asks_nhrpd_about_ipv6_neighbours() -> None:
    """What the plan wants is what the doctor checks; a veth pair has these settings too."""
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    assert "ucast_solicit=0" in (await neighbour_differences(("gre1", "gre9")))["gre1"]
    settings = TunnelSettings("gre1", addresses=(IPV6,))
    assert set((await KernelLinks().observe([settings])).sysctls.values()) == {0, 3}
    await _apply(*(SetSysctl("gre1", sysctl) for sysctl in settings.sysctls()))
    assert await neighbour_differences(("gre1", "gre9")) == {"gre1": ""}
