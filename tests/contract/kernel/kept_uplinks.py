"""The parts of an agent that follow the uplinks, in a real kernel, with a tunnel in memory: it may have no GRE."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address

from contract.namespaces import command
from dmvpn_agent.kernel.events import AddressEvent, KernelEvent, LinkEvent, RouteEvent
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.uplink.interfaces import Interfaces
from dmvpn_agent.kernel.uplink.keeper import UplinkKeeper
from dmvpn_agent.kernel.uplink.settings import Uplink, UplinkSettings
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running

#: A host in the Internet.
FAR = "203.0.113.5"


class _Interfaces(Interfaces):
    local: IPv4Address | None = None

    def local_address(self, tunnel: str) -> IPv4Address | None:
        return self.local

    def set_local_address(self, tunnel: str, address: IPv4Address) -> None:
        self.local = address


class KeptUplinks:
    """``moves``: how often the tunnel got another local address. ``telemetry`` counts the changes of routes."""

    def __init__(self, *uplinks: Uplink) -> None:
        self.moves = 0
        self.telemetry = Telemetry()
        self.watch = KernelWatch(("gre1",), Telemetry())
        self._interfaces = _Interfaces(self.watch)
        settings = UplinkSettings(("gre1",), uplinks)
        self.keeper = UplinkKeeper(settings, self._interfaces, Telemetry(), self._moved)
        self.routes = RouteReconciler(self.keeper.tables, NetlinkTables(), self.telemetry)
        self.watch.subscribe(self._changed, LinkEvent, AddressEvent, RouteEvent)

    @property
    def local(self) -> str:
        """Return the tunnel's local address."""
        return str(self._interfaces.local)

    def _moved(self) -> None:
        self.moves += 1

    def _changed(self, _: KernelEvent) -> None:
        self.keeper.trigger()
        self.routes.trigger()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Run the parts."""
        async with AsyncExitStack() as parts:
            for part in (self.watch, self.keeper, self.routes):
                await parts.enter_async_context(running(part.run()))
            yield


def rules() -> str:
    """Return the kernel's rules."""
    return command("ip", "-4", "rule")


def leaves_by(address: str) -> str:
    """Return how packets from an address of this node reach a host far away, as ``ip route`` prints it.

    ``via GATEWAY dev NAME``, ``dev NAME``, or nothing if they do not.
    """
    asked = ["ip", "-4", "route", "get", FAR, "from", address]
    words = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False).stdout.split()
    if not words:
        return ""
    after = words[words.index("from") + 2 :]
    return " ".join(after[: after.index("dev") + 2])
