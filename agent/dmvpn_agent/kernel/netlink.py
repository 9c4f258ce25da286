"""Watches by netlink the tunnel interfaces, their addresses, and nhrpd's routes and neighbour entries.

nhrpd installs routes and neighbour entries with protocol 191 on the tunnel interfaces. They are the only immediate
notification of a binding that came or went.
"""

import asyncio
from collections.abc import Callable, Iterable
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel import metrics
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

RTPROT_NHRP = 191
IFF_UP = 1


class KernelWatch:
    """Watches the tunnel interfaces and calls ``changed`` at every change.

    ``up``: whether each interface is up; ``None`` while it does not exist.
    """

    def __init__(self, interfaces: Iterable[str], telemetry: Telemetry, changed: Callable[[], None]) -> None:
        self.up: dict[str, bool | None] = dict.fromkeys(interfaces)
        self._telemetry = telemetry
        self._changed = changed
        self._names: dict[int, str] = {}
        self._backoff = Backoff(0.2, 10)
        self._trouble = Trouble()
        self._addresses: set[tuple[int, Address]] = set()

    @property
    def addresses(self) -> frozenset[Address]:
        """Return the addresses of the tunnel interfaces."""
        return frozenset(address for index, address in self._addresses if index in self._names)

    async def run(self) -> None:
        """Watch until cancelled. If the netlink socket breaks or overruns, open it again and read the whole state."""
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
        # The import takes 0.2 s, in a thread so that nhrpd gets answers; only the running agent needs it.
        pyroute2 = await asyncio.to_thread(import_module, "pyroute2")
        async with pyroute2.AsyncIPRoute() as netlink:
            await netlink.bind()
            self._telemetry.increment(metrics.KERNEL_RESYNCS)
            self._replace_state(
                [link async for link in await netlink.link("dump")],
                [address async for address in await netlink.addr("dump")],
            )
            self._changed()
            self._trouble.over()
            while True:
                async for message in netlink.get():
                    self._message(message)

    def _replace_state(self, links: list[Any], addresses: list[Any]) -> None:
        """Replace the known state at once, so that the node's own addresses stay reserved in the meantime."""
        self._names.clear()
        self._addresses.clear()
        for name in self.up.keys() - {link.get_attr("IFLA_IFNAME") for link in links}:
            self._set_link(name, None)
        for message in (*links, *addresses):
            self._message(message)

    def _message(self, message: Any) -> None:
        event = message.get("event")
        if event in {"RTM_NEWLINK", "RTM_DELLINK"}:
            self._link(message["index"], message.get_attr("IFLA_IFNAME"),
                       None if event == "RTM_DELLINK" else bool(message["flags"] & IFF_UP))  # fmt: skip
        elif event in {"RTM_NEWADDR", "RTM_DELADDR"}:
            # On a point-to-point interface IFA_ADDRESS is the remote address.
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            change = self._addresses.add if event == "RTM_NEWADDR" else self._addresses.discard
            if text:
                change((message["index"], ip_address(text)))
        elif event in {"RTM_NEWROUTE", "RTM_DELROUTE"} and message.get("proto") == RTPROT_NHRP:
            self._count("route")
            self._changed()
        elif event in {"RTM_NEWNEIGH", "RTM_DELNEIGH"} and message.get_attr("NDA_PROTOCOL") == RTPROT_NHRP:
            self._count("neighbour")
            self._changed()

    def _link(self, index: int, name: str, up: bool | None) -> None:
        former = self._names.pop(index, name)
        if former != name:  # it was renamed
            self._count("link")
            self._set_link(former, None)
        if name in self.up:
            self._names[index] = name
            self._count("link")
            self._set_link(name, up)

    def _count(self, kind: str) -> None:
        self._telemetry.increment(metrics.KERNEL_EVENTS, kind)

    def _set_link(self, name: str, up: bool | None) -> None:
        if up == self.up[name]:
            return
        log.info("tunnel_interface", interface=name, state=_STATES[up])
        self.up[name] = up
        self._changed()


_STATES = {None: "absent", False: "down", True: "up"}
