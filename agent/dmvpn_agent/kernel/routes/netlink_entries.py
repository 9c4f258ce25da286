"""nhrpd's neighbour entries and host routes on the tunnel interfaces, by pyroute2."""

import errno
from collections.abc import Collection, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.kernel.events import RTPROT_NHRP
from dmvpn_agent.kernel.pyroute import load_pyroute2
from dmvpn_agent.kernel.routes.netlink_tables import RoutesError
from dmvpn_agent.kernel.routes.stale_entries import Entry, EntryKind

_AF_INET, _AF_INET6 = 2, 10
_ANY_SCOPE = 255  # RT_SCOPE_NOWHERE
_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})


class NetlinkEntries:
    """The entries in this network namespace."""

    def __init__(self, interfaces: Collection[str]) -> None:
        self._interfaces = interfaces

    async def list(self) -> Sequence[Entry]:
        """Return those on the tunnel interfaces. Raises ``RoutesError``."""
        pyroute2 = await load_pyroute2()
        found: list[Entry] = []
        try:
            async with pyroute2.AsyncIPRoute() as netlink:
                names = {
                    link["index"]: name
                    async for link in await netlink.link("dump")
                    if (name := link.get_attr("IFLA_IFNAME")) in self._interfaces
                }
                for index, name in names.items():
                    async for message in await netlink.neigh("dump", ifindex=index):
                        if message["ifindex"] == index and message.get_attr("NDA_PROTOCOL") == RTPROT_NHRP:
                            found.append(Entry(EntryKind.NEIGHBOUR, name, ip_address(message.get_attr("NDA_DST"))))
                for family, length in ((_AF_INET, 32), (_AF_INET6, 128)):
                    async for message in await netlink.route("dump", family=family, proto=RTPROT_NHRP):
                        name, address = names.get(message.get_attr("RTA_OIF") or 0), message.get_attr("RTA_DST")
                        if message["proto"] == RTPROT_NHRP and message["dst_len"] == length and name and address:
                            found.append(Entry(EntryKind.ROUTE, name, ip_address(address)))
        except (OSError, ValueError, pyroute2.NetlinkError) as error:
            raise RoutesError(f"nhrpd's entries in the kernel cannot be read: {error}") from error
        return found

    async def delete(self, entry: Entry) -> None:
        """Delete one; it may be gone already. Raises ``RoutesError``."""
        pyroute2 = await load_pyroute2()
        try:
            async with pyroute2.AsyncIPRoute() as netlink:
                for index in await netlink.link_lookup(ifname=entry.interface):
                    with suppress(_Gone):
                        await _delete(netlink, pyroute2, entry, index)
        except (OSError, pyroute2.NetlinkError) as error:
            raise RoutesError(f"the kernel does not remove nhrpd's {entry.kind} {entry.address}: {error}") from error


class _Gone(Exception):
    pass


async def _delete(netlink: Any, pyroute2: Any, entry: Entry, index: int) -> None:
    family = _AF_INET if entry.address.version == 4 else _AF_INET6
    try:
        if entry.kind is EntryKind.NEIGHBOUR:
            await netlink.neigh("del", family=family, ifindex=index, dst=str(entry.address))
        else:
            network = f"{entry.address}/{entry.address.max_prefixlen}"
            await netlink.route("del", family=family, dst=network, oif=index, proto=RTPROT_NHRP, scope=_ANY_SCOPE)
    except pyroute2.NetlinkError as error:
        if error.code in _GONE:
            raise _Gone from error
        raise
