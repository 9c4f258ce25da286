"""The kernel's interfaces, addresses and settings as values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_interface
from typing import Any

from dmvpn_agent.kernel import gre
from dmvpn_agent.kernel.events import IFF_MULTICAST, IFF_NOARP, IFF_POINTOPOINT, IFF_UP, InterfaceAddress

#: Marks an address that the agent added (IFA_PROTO, Linux 5.18). Kernels before it keep no mark.
ADDRESS_MARK = 77
#: Marks an interface that the agent made: its alias, as ``ip link`` prints it.
ALIAS = "dmvpn-agent"

#: The attributes of a GRE interface that the agent does not manage. A change must repeat them.
_KEPT = (
    "IFLA_GRE_TOS",
    "IFLA_GRE_PMTUDISC",
    "IFLA_GRE_ENCAP_TYPE",
    "IFLA_GRE_ENCAP_FLAGS",
    "IFLA_GRE_ENCAP_SPORT",
    "IFLA_GRE_ENCAP_DPORT",
    "IFLA_GRE_IGNORE_DF",
    "IFLA_GRE_FWMARK",
)


@dataclass(frozen=True, slots=True)
class Gre:
    """The parameters of a GRE interface.

    ``key``: ``None`` if it has none; -1 if the incoming and the outgoing one differ. ``device``: an index, 0 for
    none. ``multipoint``: it has no remote address, and each packet names its own.
    """

    local: IPv4Address | None = None
    key: int | None = None
    ttl: int = 0
    device: int = 0
    multipoint: bool = True
    kept: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedLink:
    """An interface. ``gre`` is ``None`` unless its kind is gre. ``marked``: those of ``addresses`` with our mark.

    ``direct``: its packets need no gateway, as those of PPP.
    """

    index: int
    kind: str
    up: bool = False
    mtu: int = 0
    multicast: bool = False
    master: int = 0
    alias: str = ""
    gre: Gre | None = None
    addresses: frozenset[InterfaceAddress] = frozenset()
    marked: frozenset[InterfaceAddress] = frozenset()
    direct: bool = False

    @property
    def ours(self) -> bool:
        """Tell whether the agent made it."""
        return self.alias == ALIAS


@dataclass(frozen=True, slots=True)
class Observed:
    """All interfaces by name, and the kernel settings that were asked for, by path; one that is missing has none."""

    links: Mapping[str, ObservedLink]
    sysctls: Mapping[str, int] = field(default_factory=dict)

    def name_of(self, index: int) -> str:
        """Return the name of an interface, empty if there is none."""
        return next((name for name, link in self.links.items() if link.index == index), "")


def read_links(links: Iterable[Any], addresses: Iterable[Any]) -> dict[str, ObservedLink]:
    """Return the interfaces of pyroute2's dumps. Raises ``ValueError``, ``LookupError`` or ``TypeError``."""
    having: dict[int, set[InterfaceAddress]] = {}
    marked: dict[int, set[InterfaceAddress]] = {}
    for message in addresses:
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        address = ip_interface(f"{text}/{message['prefixlen']}")
        having.setdefault(message["index"], set()).add(address)
        if message.get_attr("IFA_PROTO") == ADDRESS_MARK:
            marked.setdefault(message["index"], set()).add(address)
    return {
        message.get_attr("IFLA_IFNAME"): _link(
            message, frozenset(having.get(message["index"], ())), frozenset(marked.get(message["index"], ()))
        )
        for message in links
    }


def _link(message: Any, addresses: frozenset[InterfaceAddress], marked: frozenset[InterfaceAddress]) -> ObservedLink:
    information = message.get_attr("IFLA_LINKINFO")
    kind = (information and information.get_attr("IFLA_INFO_KIND")) or ""
    return ObservedLink(
        index=message["index"],
        kind=kind,
        up=bool(message["flags"] & IFF_UP),
        mtu=message.get_attr("IFLA_MTU") or 0,
        multicast=bool(message["flags"] & IFF_MULTICAST),
        master=message.get_attr("IFLA_MASTER") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        gre=_gre(information.get_attr("IFLA_INFO_DATA")) if kind == "gre" else None,
        addresses=addresses,
        marked=marked,
        direct=bool(message["flags"] & (IFF_POINTOPOINT | IFF_NOARP)),
    )


def _gre(data: Any) -> Gre:
    local = gre.end(data, "LOCAL")
    incoming, outgoing = gre.keys(data)
    return Gre(
        local=local if isinstance(local, IPv4Address) else None,
        key=incoming if incoming == outgoing else -1,
        ttl=data.get_attr("IFLA_GRE_TTL") or 0,
        device=data.get_attr("IFLA_GRE_LINK") or 0,
        multipoint=gre.end(data, "REMOTE") is None and not data.get_attr("IFLA_GRE_COLLECT_METADATA"),
        kept=tuple((name, value) for name in _KEPT if (value := data.get_attr(name)) is not None),
    )
