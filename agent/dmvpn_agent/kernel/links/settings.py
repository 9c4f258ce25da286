"""What the operator wants of a tunnel interface: ``[tunnel.NAME]``."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from dmvpn_agent.kernel.events import InterfaceAddress


class Sysctl(NamedTuple):
    """A kernel setting: its path below /proc/sys/net, and the wanted value."""

    path: str
    value: int

    @property
    def name(self) -> str:
        """Return the name as ``sysctl`` prints it."""
        return "net." + self.path.replace("/", ".")


#: FRR's word for no VRF.
DEFAULT_VRF = "default"


def neighbour_sysctls(interface: str) -> Iterator[Sysctl]:
    """Yield the settings by which the kernel asks only nhrpd whether an IPv6 neighbour is still there.

    nhrpd wants that for both IP versions. zebra up to FRR 10.2.4, 10.3.2 and 10.4.1 sets it for IPv4 only: it cuts
    the name of the IPv6 table, and the kernel refuses. Then the kernel sends neighbour solicitations. For these the
    interface has no link-local address, and 40 s after an entry was made the kernel drops the packets of others.
    """
    for kind, probes in (("app", 1), ("ucast", 0), ("mcast", 0)):
        yield Sysctl(f"ipv6/neigh/{interface}/{kind}_solicit", probes)


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """One tunnel interface. What is ``None`` is left as it is; a new interface gets the kernel's default.

    ``manages``: the agent makes the interface and keeps it so; otherwise it only reports what differs. ``local``: the
    node's NBMA address; without it the kernel takes that of ``device``. ``device``: the uplink, or its VRF
    (front-door VRF). ``vrf``: the VRF of the interface itself; ``default`` for none. ``addresses``: the protocol
    addresses, host prefixes.
    ``multicast``: whether the interface takes multicast, which routing protocols need. ``forwards``: the node is a
    router. ``uses_pmtu``: forwarded packets obey the learned path MTU.
    """

    name: str
    manages: bool = False
    local: IPv4Address | None = None
    device: str | None = None
    key: int | None = None
    ttl: int | None = None
    mtu: int | None = None
    addresses: tuple[InterfaceAddress, ...] = ()
    multicast: bool | None = None
    vrf: str | None = None
    up: bool | None = None
    forwards: bool = False
    rp_filter: int | None = None
    uses_pmtu: bool = False

    @property
    def wants_anything(self) -> bool:
        """Tell whether anything is configured; otherwise the interface is the operator's alone."""
        return self != TunnelSettings(self.name)

    @property
    def has_ipv6(self) -> bool:
        """Tell whether a protocol address is IPv6."""
        return any(address.version == 6 for address in self.addresses)

    def sysctls(self) -> Iterator[Sysctl]:
        """Yield the wanted kernel settings."""
        if self.forwards:
            yield Sysctl("ipv4/ip_forward", 1)
        if self.forwards and self.has_ipv6:
            yield Sysctl("ipv6/conf/all/forwarding", 1)
        if self.uses_pmtu:
            yield Sysctl("ipv4/ip_forward_use_pmtu", 1)
        if self.has_ipv6:
            yield from neighbour_sysctls(self.name)
        if self.rp_filter is not None:
            yield Sysctl(f"ipv4/conf/{self.name}/rp_filter", self.rp_filter)
