"""The kernel by way of netlink: the tunnel interfaces, and what nhrpd does to routes and neighbours.

nhrpd installs routes with protocol 191 and neighbour entries with the same on the tunnel interfaces: the only prompt
sign of a binding that came or went.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from tenacity import AsyncRetrying, RetryCallState, wait_exponential

from dmvpn_agent.core import metrics
from dmvpn_agent.service.telemetry import Telemetry

log = structlog.get_logger()

RTPROT_NHRP = 191
IFF_UP = 1


class KernelWatch:
    """Watches the tunnel interfaces; ``changed`` is told of everything.

    ``up``: of each interface, ``None`` while it does not exist.
    """

    def __init__(self, interfaces: Iterable[str], telemetry: Telemetry, changed: Callable[[], None]) -> None:
        self.up: dict[str, bool | None] = dict.fromkeys(interfaces)
        self._telemetry = telemetry
        self._changed = changed
        self._names: dict[int, str] = {}

    async def run(self) -> None:
        """Watch until cancelled; a broken or overrun netlink socket is opened again and the state read anew."""
        async for attempt in AsyncRetrying(
            wait=wait_exponential(multiplier=0.2, max=10), before_sleep=self._say_broken, retry=_not_cancelled
        ):
            with attempt:
                await self._watch()

    def _say_broken(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("netlink_broken", why=repr(error), attempt=state.attempt_number)

    async def _watch(self) -> None:
        from pyroute2 import AsyncIPRoute  # noqa: PLC0415  takes 0.2 s, and only the running agent needs it

        async with AsyncIPRoute() as netlink:
            await netlink.bind()
            self._telemetry.increment(metrics.KERNEL_RESYNCS)
            self._names.clear()
            for name in self.up:
                self._set_link(name, None)
            async for link in await netlink.link("dump"):
                self._message(link)
            self._changed()
            while True:
                async for message in netlink.get():
                    self._message(message)

    def _message(self, message: Any) -> None:
        event = message.get("event")
        if event in {"RTM_NEWLINK", "RTM_DELLINK"}:
            self._link(message["index"], message.get_attr("IFLA_IFNAME"),
                       None if event == "RTM_DELLINK" else bool(message["flags"] & IFF_UP))  # fmt: skip
        elif event in {"RTM_NEWROUTE", "RTM_DELROUTE"} and message.get("proto") == RTPROT_NHRP:
            self._count("route")
            self._changed()
        elif event in {"RTM_NEWNEIGH", "RTM_DELNEIGH"} and message.get_attr("NDA_PROTOCOL") == RTPROT_NHRP:
            self._count("neighbour")
            self._changed()

    def _link(self, index: int, name: str, up: bool | None) -> None:
        former = self._names.pop(index, name)
        if former != name:  # it was given another name
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


def _not_cancelled(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError)
