"""The one watch by netlink: links, addresses, routes, neighbour entries and rules.

nhrpd installs routes and neighbour entries with protocol 191 on the tunnel interfaces. They are the only immediate
notification of a binding that came or went.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from importlib import import_module
from ipaddress import IPv4Interface
from typing import Any

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel import metrics, rtnetlink
from dmvpn_agent.kernel.events import (
    AddressEvent,
    InterfaceAddress,
    KernelEvent,
    LinkEvent,
    NeighbourEvent,
    Resync,
    RouteEvent,
    RuleEvent,
)
from dmvpn_agent.kernel.pyroute import load_pyroute2
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()

#: Bytes of notifications that the kernel keeps for us; with more, some are lost and the state is read again.
RECEIVE_BUFFER = 4 << 20
MAX_DATAGRAM = 1 << 16
_SO_RCVBUFFORCE = 33

_KINDS: dict[type[KernelEvent], str] = {
    LinkEvent: "link",
    AddressEvent: "address",
    RouteEvent: "route",
    NeighbourEvent: "neighbour",
    RuleEvent: "rule",
}


class KernelWatch:
    """Watches the kernel, and calls the subscribers of each kind of event.

    ``links``: all interfaces by name. ``up``: whether each of the tunnel ``interfaces`` is up; ``None`` while it does
    not exist.
    """

    def __init__(self, interfaces: Iterable[str], telemetry: Telemetry) -> None:
        self.up: dict[str, bool | None] = dict.fromkeys(interfaces)
        self.links: dict[str, LinkEvent] = {}
        self._names: dict[int, str] = {}
        self._addresses: set[tuple[int, InterfaceAddress]] = set()
        self._subscribers: list[tuple[Callable[[KernelEvent], None], tuple[type[KernelEvent], ...]]] = []
        self._telemetry = telemetry
        self._unreadable = Unreadable(telemetry)
        self._backoff = Backoff(0.2, 10)
        self._trouble = Trouble()
        for kind in _KINDS.values():
            telemetry.increment(metrics.KERNEL_EVENTS, kind, by=0)
        for cause in ("start", "overrun"):
            telemetry.increment(metrics.KERNEL_RESYNCS, cause, by=0)

    def subscribe(self, callback: Callable[[KernelEvent], None], *kinds: type[KernelEvent]) -> None:
        """Call ``callback`` with each event of these kinds, and after each ``Resync``.

        It is called in the order of the events, after ``links``, ``up`` and ``addresses`` have changed; it must
        neither wait nor raise.
        """
        self._subscribers.append((callback, (*kinds, Resync)))

    @property
    def addresses(self) -> frozenset[Address]:
        """Return the addresses of the tunnel interfaces."""
        return frozenset(address.ip for index, address in self._addresses if self._names.get(index) in self.up)

    def addresses_of(self, interface: str) -> frozenset[InterfaceAddress]:
        """Return the addresses of an interface, with their prefix lengths."""
        return frozenset(address for index, address in self._addresses if self._names.get(index) == interface)

    def has_address(self, address: Address) -> bool:
        """Tell whether any interface has this address."""
        return any(one.ip == address for _, one in self._addresses)

    def first_address(self, index: int) -> IPv4Interface | None:
        """Return the lowest IPv4 address of an interface with its prefix length; ``None`` if it has none."""
        addresses = (address for number, address in self._addresses if number == index)
        return min((one for one in addresses if isinstance(one, IPv4Interface)), default=None)

    async def run(self) -> None:
        """Watch until cancelled. If the netlink socket breaks, open it again and read the whole state."""
        while True:
            self._backoff.begin()
            try:
                await self._watch()
            except Exception as error:
                wait = self._backoff.failed()
                if self._trouble.is_new(repr(error)):
                    log.warning(
                        "netlink_broken",
                        why=self._trouble.text,
                        consequence="the agent opens it again and reads everything",
                    )
                await asyncio.sleep(wait)

    async def _watch(self) -> None:
        pyroute2 = await load_pyroute2()
        marshal = (await asyncio.to_thread(import_module, "pyroute2.netlink.rtnl.marshal")).MarshalRtnl()
        with _open_socket() as notifications:
            await self._resync(pyroute2, "start")
            self._trouble.over()
            async for datagram in _datagrams(notifications):
                if datagram is None:
                    await self._resync(pyroute2, "overrun")
                else:
                    self._receive(marshal, datagram)

    async def _resync(self, pyroute2: Any, cause: str) -> None:
        """Read all links and addresses, and call every subscriber."""
        async with pyroute2.AsyncIPRoute() as netlink:
            links = [link async for link in await netlink.link("dump")]
            addresses = [address async for address in await netlink.addr("dump")]
        self._telemetry.increment(metrics.KERNEL_RESYNCS, cause)
        self._replace_state(links, addresses)
        self._publish(Resync(cause))

    def _replace_state(self, links: list[Any], addresses: list[Any]) -> None:
        """Replace the known state at once, so that the node's own addresses stay reserved in the meantime."""
        self._names.clear()
        self._addresses.clear()
        self.links.clear()
        for message in (*links, *addresses):
            if event := rtnetlink.read_event(message, self._names):
                self._note(event)
        for name in self.up.keys() - self.links.keys():
            self._set_up(name, None)

    def _receive(self, marshal: Any, datagram: bytes) -> None:
        """Publish the events of a datagram of notifications."""
        tunnels = {self.links[name].index for name in self.up if name in self.links}
        for kind, part in rtnetlink.split(datagram):
            if not rtnetlink.interesting(kind, part, tunnels):
                continue
            try:
                (message,) = marshal.parse(part)
                event = rtnetlink.read_event(message, self._names)
            except (ValueError, LookupError, TypeError) as error:
                self._unreadable.skip(ItemSource.NETLINK, (kind, repr(error)), f"message of type {kind}: {error!r}")
                continue
            if event:
                self._note(event)
                self._publish(event)

    def _note(self, event: KernelEvent) -> None:
        """Update what is known."""
        if isinstance(event, LinkEvent):
            self._note_link(event)
        elif isinstance(event, AddressEvent):
            change = self._addresses.add if event.present else self._addresses.discard
            change((event.index, event.address))

    def _note_link(self, link: LinkEvent) -> None:
        former = self._names.pop(link.index, link.name)
        if former != link.name:  # it was renamed
            self.links.pop(former, None)
            self._set_up(former, None)
        if link.present:
            self._names[link.index], self.links[link.name] = link.name, link
        else:
            self.links.pop(link.name, None)
        self._set_up(link.name, link.up if link.present else None)

    def _set_up(self, name: str, up: bool | None) -> None:
        if name in self.up and up != self.up[name]:
            log.info("tunnel_interface", interface=name, state=_STATES[up])
            self.up[name] = up

    def _publish(self, event: KernelEvent) -> None:
        if kind := _KINDS.get(type(event)):
            self._telemetry.increment(metrics.KERNEL_EVENTS, kind)
        for callback, kinds in self._subscribers:
            if isinstance(event, kinds):
                callback(event)


_STATES = {None: "absent", False: "down", True: "up"}


def _open_socket() -> socket.socket:
    """Return a socket that receives all notifications. Raises ``OSError``."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    notifications = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        with suppress(OSError):  # without CAP_NET_ADMIN the kernel's limit stays
            notifications.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        notifications.bind((0, rtnetlink.GROUPS))
    except OSError:
        notifications.close()
        raise
    return notifications


async def _datagrams(notifications: socket.socket) -> AsyncIterator[bytes | None]:
    """Yield what arrives; ``None`` if some was lost, after what is left in the socket was discarded."""
    while True:
        try:
            yield await asyncio.get_running_loop().sock_recv(notifications, MAX_DATAGRAM)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            with suppress(OSError):
                while notifications.recv(MAX_DATAGRAM):
                    pass
            yield None
