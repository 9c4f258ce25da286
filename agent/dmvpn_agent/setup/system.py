"""A machine as ``setup`` finds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface


class Manager(StrEnum):
    """What starts services."""

    SYSTEMD = "systemd"
    OPENRC = "openrc"
    #: A container or a chroot: services are started by whoever made it.
    NONE = "none"


class TunnelBy(StrEnum):
    """What makes the tunnel interface: the system's network configuration, or the agent itself."""

    IFUPDOWN = "ifupdown"
    NETWORKD = "systemd-networkd"
    AGENT = "agent"
    #: It exists already, and stays as it is.
    OPERATOR = "operator"


class FirewallBy(StrEnum):
    """What keeps the machine's firewall rules, if setup knows it."""

    FIREWALLD = "firewalld"
    AWALL = "awall"
    #: No firewall, or rules that the operator keeps in another way.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Firewall:
    """The firewall that is in charge.

    ``zones``: of firewalld, by interface; all others are in the default zone. ``tunnel_zone``: the zone that the
    operator has put gre1 into, if any.
    """

    by: FirewallBy = FirewallBy.NONE
    zones: Mapping[str, str] = field(default_factory=dict)
    tunnel_zone: str = ""


@dataclass(frozen=True, slots=True)
class Uplink:
    """An interface with a default route, and the address that packets by it come from."""

    interface: str
    address: IPv4Address | None
    metric: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is."""

    content: bytes
    mode: int
    owner: str
    group: str


def content_digest(content: bytes | None) -> str:
    """Return a hash of a file's content, empty if there is no file."""
    return "" if content is None else sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Services:
    """The units of the programs, by the names that the manager knows; empty for one that it does not know."""

    manager: Manager = Manager.NONE
    charon: str = ""
    frr: str = ""
    active: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class System:
    """Everything that a plan depends on, besides bundle and answers.

    ``uplinks``: the best one first. ``addresses``: those of all interfaces but the tunnel. ``frr_daemons``: the
    installed ones. ``has_vici``: charon's plugin; ``None`` if strongSwan's plugins were not found. ``patched``:
    whether charon has Alpine's patches. ``frr_running``: FRR's running configuration, ``None`` if it does not run or
    lacks a daemon. ``directories``: the existing ones with their modes. ``files``: by path. ``network``: what makes
    interfaces here. ``unwritable``: paths
    that could not be written, each with the reason.
    """

    root: bool = True
    uplinks: tuple[Uplink, ...] = ()
    addresses: tuple[tuple[str, IPv4Interface | IPv6Interface], ...] = ()
    frr_daemons: frozenset[str] = frozenset()
    has_nft: bool = True
    has_swanctl: bool = True
    has_vici: bool | None = True
    patched: bool = False
    frr_running: str | None = None
    services: Services = Services()
    network: TunnelBy = TunnelBy.AGENT
    firewall: Firewall = Firewall()
    has_apparmor: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    memberships: frozenset[tuple[str, str]] = frozenset()
    links: frozenset[str] = frozenset()
    directories: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    unwritable: Mapping[str, str] = field(default_factory=dict)
    #: The hash of what setup wrote last into each file.
    digests: Mapping[str, str] = field(default_factory=dict)
    #: A package has installed the services.
    has_packaged_units: bool = False
    program: str = "/usr/bin/dmvpn-agent"
    #: Kernel values, by path below /proc/sys.
    sysctls: Mapping[str, str] = field(default_factory=dict)
    #: Whether the service user can enter every folder above the program.
    program_reachable: bool = True
    #: The kernel's release, and the modules of ``plan.TUNNEL_MODULES`` that are neither loaded nor can be.
    kernel: str = ""
    lacks_modules: tuple[str, ...] = ()
    #: An interrupted run left services behind that may not know their files yet.
    unfinished: bool = False
