"""Reading the kernel again after the netlink socket broke."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from socket import AF_UNIX, socket
from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_agent.kernel import netlink as kernel
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

OWN = ip_address("10.255.0.1")


class _Message(dict[str, Any]):
    """A netlink message as pyroute2 has it."""

    def __init__(self, fields: dict[str, Any], **attributes: str) -> None:
        super().__init__(fields)
        self._attributes = attributes

    def get_attr(self, name: str) -> str | None:
        return self._attributes.get(name)


LINK = _Message({"header": {"type": 16}, "family": 0, "index": 7, "flags": 1}, IFLA_IFNAME="gre1")
ADDRESS = _Message({"header": {"type": 20}, "index": 7, "prefixlen": 32}, IFA_LOCAL=str(OWN))


async def test_own_addresses_stay_known_while_the_kernel_is_read_again(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the agent could accept a peer with one of them, or report the tunnel as absent."""
    seen: list[tuple[frozenset[Any], bool | None]] = []
    watch = KernelWatch(["gre1"], telemetry)

    class Netlink:
        async def __aenter__(self) -> "Netlink":
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def link(self, _: str) -> AsyncIterator[_Message]:
            return self._dump(LINK)

        async def addr(self, _: str) -> AsyncIterator[_Message]:
            return self._dump(ADDRESS)

        async def _dump(self, message: _Message) -> AsyncIterator[_Message]:
            seen.append((watch.addresses, watch.up["gre1"]))
            yield message

    async def overruns(_: object) -> AsyncIterator[None]:
        while True:
            await asyncio.sleep(0)
            yield None

    modules = SimpleNamespace(AsyncIPRoute=Netlink, MarshalRtnl=object)

    async def load() -> SimpleNamespace:
        return modules

    monkeypatch.setattr(kernel, "load_pyroute2", load)
    monkeypatch.setattr(kernel, "import_module", lambda _: modules)
    monkeypatch.setattr(kernel, "_open_socket", lambda: socket(AF_UNIX))
    monkeypatch.setattr(kernel, "_datagrams", overruns)
    async with running(watch.run()):
        await until(lambda: len(seen) >= 4)
    assert seen[2:4] == [(frozenset({OWN}), True)] * 2
