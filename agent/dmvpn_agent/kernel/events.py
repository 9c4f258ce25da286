"""What the kernel reports about links, addresses, routes, neighbour entries and rules.

An event only says that something changed; a subscriber reads the state that it needs. After a ``Resync`` anything
may have changed: the watch started, or notifications were lost.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from dmvpn_agent.addresses import Address, Network

InterfaceAddress = IPv4Interface | IPv6Interface
#: The keys of the packets that a GRE interface receives and that it sends; ``None`` for none.
GreKeys = tuple[int | None, int | None]

#: linux/rtnetlink.h and FRR's zebra/rt_netlink.h: who made a route or neighbour entry.
RTPROT_NHRP = 191

#: linux/if.h
IFF_UP, IFF_POINTOPOINT, IFF_RUNNING, IFF_NOARP, IFF_MULTICAST = 1, 1 << 4, 1 << 6, 1 << 7, 1 << 12


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """An interface exists, or ``present`` is false and it is gone.

    ``kind``: as in ``ip link show type KIND``, empty for hardware. ``flags``: IFF_ flags. ``master``: the index of
    the VRF or bridge that it belongs to, 0 if to none. ``local``: a GRE tunnel's own NBMA address, ``None`` if it has
    none; ``underlay``: the index of the interface that it is bound to, 0 if to none; ``remote``: the NBMA address of
    its only peer, ``None`` if it is multipoint.
    """

    index: int
    name: str
    present: bool
    kind: str = ""
    flags: int = 0
    mtu: int = 0
    master: int = 0
    local: Address | None = None
    underlay: int = 0
    remote: Address | None = None
    keys: GreKeys = (None, None)

    @property
    def up(self) -> bool:
        """Tell whether it is set up."""
        return self.present and bool(self.flags & IFF_UP)

    @property
    def direct(self) -> bool:
        """Tell whether its packets need no gateway: one host at the other end (PPP), or no ARP (WWAN)."""
        return bool(self.flags & (IFF_POINTOPOINT | IFF_NOARP))

    @property
    def running(self) -> bool:
        """Tell whether it can send: it is set up and has a carrier."""
        return self.up and bool(self.flags & IFF_RUNNING)


@dataclass(frozen=True, slots=True)
class AddressEvent:
    """An interface has this address, or had it. ``interface`` is empty if it was gone already."""

    index: int
    interface: str
    address: InterfaceAddress
    present: bool


@dataclass(frozen=True, slots=True)
class RouteEvent:
    """A route was added, changed or removed.

    ``protocol``: who made it, as ``RTPROT_NHRP``. ``interface`` is empty for a route without one, or with several.
    """

    network: Network
    table: int
    protocol: int
    interface: str
    gateway: Address | None
    present: bool


@dataclass(frozen=True, slots=True)
class NeighbourEvent:
    """A neighbour entry of nhrpd on a tunnel interface was added, changed or removed: a binding or shortcut."""

    interface: str
    address: Address
    present: bool


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A routing rule was added or removed. ``table``: 0 if it names none."""

    version: int
    priority: int
    table: int
    present: bool


@dataclass(frozen=True, slots=True)
class Resync:
    """All links and addresses were read; anything may have changed. ``cause``: ``start`` or ``overrun``."""

    cause: str


KernelEvent = LinkEvent | AddressEvent | RouteEvent | NeighbourEvent | RuleEvent | Resync


def may_change_bindings(event: KernelEvent, tunnels: Collection[str]) -> bool:
    """Tell whether nhrpd may have gained or lost a binding: its own entries changed, or a tunnel interface did."""
    match event:
        case LinkEvent():
            return event.name in tunnels
        case RouteEvent():
            return event.protocol == RTPROT_NHRP
        case NeighbourEvent() | Resync():
            return True
    return False


def may_change_paths(event: KernelEvent, tunnels: Collection[str]) -> bool:
    """Tell whether a hub out of reach may be reachable now: a link, an address or a default route is there."""
    match event:
        case LinkEvent():
            return event.present
        case AddressEvent():
            return event.present
        case RouteEvent():
            return event.present and event.network.prefixlen == 0 and event.interface not in tunnels
    return isinstance(event, Resync)


def brings_back(event: KernelEvent, tunnels: Collection[str]) -> bool:
    """Tell whether a tunnel interface is up now, or has a new address: nhrpd starts again on it."""
    match event:
        case LinkEvent():
            return event.up and event.name in tunnels
        case AddressEvent():
            return event.present and event.interface in tunnels
    return False
