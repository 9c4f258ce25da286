"""The kernel's rtnetlink notifications as events.

Decoding a message by pyroute2 takes 0.1 ms. ``interesting`` discards by a few bytes of the header what nobody here
needs, such as each route of a full BGP table.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from dmvpn_agent.kernel import gre
from dmvpn_agent.kernel.events import (
    RTPROT_NHRP,
    AddressEvent,
    KernelEvent,
    LinkEvent,
    NeighbourEvent,
    RouteEvent,
    RuleEvent,
)

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE = 16, 17, 20, 21, 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWRULE, RTM_DELRULE = 28, 29, 32, 33
GROUPS = (
    0x1  # links
    | 0x4  # neighbour entries
    | 0x10 | 0x40 | 0x80  # IPv4: addresses, routes, rules
    | 0x100 | 0x400 | 1 << 18  # IPv6: addresses, routes, rules
)  # fmt: skip

#: bird, babel, bgp, isis, ospf, rip, ripng, eigrp, openfabric: the routes of routing daemons, up to a million.
ROUTING_DAEMONS = frozenset({12, 42, 186, 187, 188, 189, 190, 192, 197})

_HEADER = struct.Struct("=IHHII")
_AF_INET, _AF_INET6 = 2, 10


def split(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of a datagram, each with its type; stop at one whose length is wrong."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, *_ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            return
        yield kind, datagram[offset : offset + length]
        offset += (length + 3) & ~3


def interesting(kind: int, message: bytes, tunnels: Collection[int]) -> bool:
    """Tell whether a message may become an event. ``tunnels``: the indexes of the tunnel interfaces."""
    if kind in {
        RTM_NEWROUTE,
        RTM_DELROUTE,
    }:  # struct rtmsg: its second byte is the prefix length, its sixth the protocol
        return len(message) >= 28 and (message[17] == 0 or message[21] not in ROUTING_DAEMONS)
    if kind in {RTM_NEWNEIGH, RTM_DELNEIGH}:  # struct ndmsg
        return len(message) >= 28 and struct.unpack_from("=i", message, 20)[0] in tunnels
    return kind in _READERS


def read_event(message: Any, names: Mapping[int, str]) -> KernelEvent | None:
    """Return the event of a message that pyroute2 decoded, ``None`` if it is none.

    ``names``: the interfaces by index. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for a damaged message.
    """
    read = _READERS.get(message["header"]["type"])
    return read(message, names) if read else None


def _link(message: Any, _: Mapping[int, str]) -> LinkEvent | None:
    if message["family"] != 0:  # a port joined or left a bridge
        return None
    information = message.get_attr("IFLA_LINKINFO")
    data = information and information.get_attr("IFLA_INFO_DATA")
    return LinkEvent(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        present=message["header"]["type"] == RTM_NEWLINK,
        kind=(information and information.get_attr("IFLA_INFO_KIND")) or "",
        flags=message["flags"],
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        local=gre.end(data, "LOCAL"),
        underlay=message.get_attr("IFLA_LINK") or 0,
        remote=gre.end(data, "REMOTE"),
        keys=gre.keys(data),
    )


def _address(message: Any, names: Mapping[int, str]) -> AddressEvent | None:
    # On a point-to-point interface IFA_ADDRESS is the remote address.
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if not text:
        return None
    index = message["index"]
    address = ip_interface(f"{text}/{message['prefixlen']}")
    return AddressEvent(index, names.get(index, ""), address, message["header"]["type"] == RTM_NEWADDR)


def _route(message: Any, names: Mapping[int, str]) -> RouteEvent | None:
    if message["family"] not in {_AF_INET, _AF_INET6} or message["flags"] & 0x200:  # RTM_F_CLONED: a cache entry
        return None
    network = message.get_attr("RTA_DST") or ("::" if message["family"] == _AF_INET6 else "0.0.0.0")  # noqa: S104
    gateway = message.get_attr("RTA_GATEWAY")
    return RouteEvent(
        network=ip_network(f"{network}/{message['dst_len']}"),
        table=message.get_attr("RTA_TABLE") or message["table"],
        protocol=message["proto"],
        interface=names.get(message.get_attr("RTA_OIF") or 0, ""),
        gateway=ip_address(gateway) if gateway else None,
        present=message["header"]["type"] == RTM_NEWROUTE,
    )


def _neighbour(message: Any, names: Mapping[int, str]) -> NeighbourEvent | None:
    address = message.get_attr("NDA_DST")
    if message.get_attr("NDA_PROTOCOL") != RTPROT_NHRP or not address:
        return None
    present = message["header"]["type"] == RTM_NEWNEIGH
    return NeighbourEvent(names.get(message["ifindex"], ""), ip_address(address), present)


def _rule(message: Any, _: Mapping[int, str]) -> RuleEvent | None:
    if message["family"] not in {_AF_INET, _AF_INET6}:
        return None
    return RuleEvent(
        version=4 if message["family"] == _AF_INET else 6,
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") or message["table"],
        present=message["header"]["type"] == RTM_NEWRULE,
    )


_READERS: dict[int, Callable[[Any, Mapping[int, str]], KernelEvent | None]] = {
    RTM_NEWLINK: _link,
    RTM_DELLINK: _link,
    RTM_NEWADDR: _address,
    RTM_DELADDR: _address,
    RTM_NEWROUTE: _route,
    RTM_DELROUTE: _route,
    RTM_NEWNEIGH: _neighbour,
    RTM_DELNEIGH: _neighbour,
    RTM_NEWRULE: _rule,
    RTM_DELRULE: _rule,
}
