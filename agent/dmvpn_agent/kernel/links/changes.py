"""What the agent changes in the kernel for a tunnel interface; each change as the ``ip`` or ``sysctl`` command."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dmvpn_agent.kernel.events import InterfaceAddress
from dmvpn_agent.kernel.links.observed import ALIAS, Gre
from dmvpn_agent.kernel.links.settings import Sysctl, TunnelSettings

#: The TTL of a new interface without ``ttl``: without one, packets would carry that of the inner packet.
DEFAULT_TTL = 64


class Cause(StrEnum):
    """What was not as configured."""

    MISSING = "missing"
    TUNNEL = "tunnel"
    ADDRESS = "address"
    DOWN = "down"
    MTU = "mtu"
    MULTICAST = "multicast"
    VRF = "vrf"
    SYSCTL = "sysctl"


@dataclass(frozen=True, slots=True)
class CreateLink:
    """Make the interface, with its MTU and the agent's mark.

    ``instead_of``: why the existing one is deleted first; empty if there is none. ``addresses``: those that it had.
    """

    interface: str
    gre: Gre
    settings: TunnelSettings
    instead_of: str = ""
    addresses: tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class SetGre:
    """Change the GRE parameters in place. ``kept``: those of ``gre`` that differ from before, as words."""

    interface: str
    gre: Gre
    words: str


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Set the MTU."""

    interface: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetMulticast:
    """Let the interface take multicast, or not."""

    interface: str
    on: bool


@dataclass(frozen=True, slots=True)
class SetVrf:
    """Put the interface into a VRF; an empty name takes it out."""

    interface: str
    vrf: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Set the interface up or down."""

    interface: str
    up: bool


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Add a protocol address."""

    interface: str
    address: InterfaceAddress


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Remove an address that the agent added and that is no longer configured."""

    interface: str
    address: InterfaceAddress


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Write a kernel setting."""

    interface: str
    sysctl: Sysctl


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Delete an interface that the agent made; only ``reset`` does this."""

    interface: str


LinkChange = (
    CreateLink | SetGre | SetMtu | SetMulticast | SetVrf | SetUp | AddAddress | RemoveAddress | SetSysctl | RemoveLink
)

_CAUSES: dict[type[LinkChange], Cause] = {
    CreateLink: Cause.MISSING,
    SetGre: Cause.TUNNEL,
    SetMtu: Cause.MTU,
    SetMulticast: Cause.MULTICAST,
    SetVrf: Cause.VRF,
    SetUp: Cause.DOWN,
    AddAddress: Cause.ADDRESS,
    RemoveAddress: Cause.ADDRESS,
    SetSysctl: Cause.SYSCTL,
    RemoveLink: Cause.MISSING,
}


def cause_of(change: LinkChange) -> Cause:
    """Return what a change corrects."""
    return Cause.TUNNEL if isinstance(change, CreateLink) and change.instead_of else _CAUSES[type(change)]


def commands(change: LinkChange) -> Iterator[str]:
    """Yield the commands by which an operator would make the change."""
    name = change.interface
    match change:
        case CreateLink(gre=gre, settings=settings):
            if change.instead_of:
                yield f"ip link delete {name}  # {change.instead_of}"
            yield f"ip link add {name} type gre {gre_words(gre, settings)}"
            yield f"ip link set {name} alias {ALIAS}" + (f" mtu {settings.mtu}" if settings.mtu else "")
            yield from (f"ip address add {address} dev {name}" for address in change.addresses)
        case SetGre(words=words):
            yield f"ip link set {name} type gre {words}"
        case SetMtu(mtu=mtu):
            yield f"ip link set {name} mtu {mtu}"
        case SetMulticast(on=on):
            yield f"ip link set {name} multicast {'on' if on else 'off'}"
        case SetVrf(vrf=vrf):
            yield f"ip link set {name} vrf {vrf}" if vrf else f"ip link set {name} nomaster"
        case SetUp(up=up):
            yield f"ip link set {name} {'up' if up else 'down'}"
        case AddAddress(address=address):
            yield f"ip address add {address} dev {name}"
        case RemoveAddress(address=address):
            yield f"ip address delete {address} dev {name}"
        case SetSysctl(sysctl=sysctl):
            yield f"sysctl -w {sysctl.name}={sysctl.value}"
        case RemoveLink():
            yield f"ip link delete {name}"


def gre_words(gre: Gre, settings: TunnelSettings) -> str:
    """Return the parameters as ``ip link`` takes them."""
    words = [f"local {gre.local}"] if gre.local else []
    words += [f"dev {settings.device}"] if settings.device else []
    words += [f"key {gre.key}"] if gre.key is not None else []
    return " ".join([*words, f"ttl {gre.ttl or 'inherit'}"])
