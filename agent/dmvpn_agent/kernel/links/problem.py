"""What prevents that a tunnel interface becomes as configured, each with its remedy."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of problems."""

    NOT_GRE = "not_gre"
    MISSING_DEVICE = "missing_device"
    VRF = "vrf"
    ADDRESS = "address"
    NO_GRE = "no_gre"
    NO_PERMISSION = "no_permission"
    READ_ONLY = "read_only"
    CONTESTED = "contested"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class LinkProblem:
    """One problem at one interface, as text for people."""

    kind: Kind
    interface: str
    found: str
    do: str

    def __str__(self) -> str:
        return f"{self.interface}: {self.found}; {self.do}"


def not_gre(name: str, kind: str) -> LinkProblem:
    """Return the problem that another kind of interface has the name."""
    return LinkProblem(
        Kind.NOT_GRE, name, f"{name} is an interface of type {kind or 'hardware'}, not gre",
        "rename or delete it, or name another interface in nhrp.interfaces",
    )  # fmt: skip


def missing_device(name: str, device: str) -> LinkProblem:
    """Return the problem that the uplink does not exist (yet)."""
    return LinkProblem(
        Kind.MISSING_DEVICE, name, f"there is no interface {device}",
        f"make it, or correct tunnel.{name}.device; the agent continues when it appears",
    )  # fmt: skip


def missing_vrf(name: str, vrf: str) -> LinkProblem:
    """Return the problem that the VRF does not exist (yet)."""
    return LinkProblem(
        Kind.VRF, name, f"there is no VRF {vrf}",
        f"make it: ip link add {vrf} type vrf table N (the kernel needs CONFIG_NET_VRF)",
    )  # fmt: skip


def not_vrf(name: str, vrf: str, kind: str) -> LinkProblem:
    """Return the problem that the named VRF is another kind of interface."""
    return LinkProblem(
        Kind.VRF, name, f"{vrf} is an interface of type {kind or 'hardware'}, not vrf",
        f"correct tunnel.{name}.vrf",
    )  # fmt: skip


def not_host_prefix(name: str, address: object) -> LinkProblem:
    """Return the problem that a protocol address has a network's prefix length."""
    return LinkProblem(
        Kind.ADDRESS, name, f"{name} has {address}; nhrpd before FRR 10.4 takes no address but a host prefix",
        f"ip address delete {address} dev {name}; the agent adds the address of tunnel.{name}.addresses itself",
    )  # fmt: skip


def no_gre(name: str, why: str) -> LinkProblem:
    """Return the problem that the kernel has no GRE."""
    return LinkProblem(
        Kind.NO_GRE, name, f"the kernel cannot make a GRE interface: {why}",
        "load the module: modprobe ip_gre (and name it in /etc/modules-load.d); a container gets it from its host",
    )  # fmt: skip


def no_permission(name: str, why: str) -> LinkProblem:
    """Return the problem that the agent may not change the kernel."""
    return LinkProblem(
        Kind.NO_PERMISSION, name, f"the kernel refuses changes: {why}",
        "give the agent CAP_NET_ADMIN, as its service files do",
    )  # fmt: skip


def read_only(name: str, setting: str, why: str) -> LinkProblem:
    """Return the problem that a kernel setting cannot be written."""
    return LinkProblem(
        Kind.READ_ONLY, name, f"{setting} cannot be written: {why}",
        f"set it in /etc/sysctl.d, or let the service write to /proc/sys/net; then set tunnel.{name} accordingly",
    )  # fmt: skip


def refused(name: str, command: str, why: str) -> LinkProblem:
    """Return the problem that the kernel refused one change."""
    return LinkProblem(
        Kind.REFUSED, name, f"the kernel refuses `{command}`: {why}",
        f"correct [tunnel.{name}]; another GRE interface with the same local address and key is a frequent reason",
    )  # fmt: skip


def contested(name: str, command: str, rounds: int) -> LinkProblem:
    """Return the problem that another program takes a change back each time."""
    return LinkProblem(
        Kind.CONTESTED, name, f"another program has undone `{command}` {rounds} times within a minute",
        f"remove {name} from ifupdown, systemd-networkd, NetworkManager or FRR, or set tunnel.{name}.manage = false",
    )  # fmt: skip


def unreadable(name: str, why: str) -> LinkProblem:
    """Return the problem that the kernel's state cannot be read."""
    return LinkProblem(Kind.UNREADABLE, name, f"the kernel's interfaces cannot be read: {why}", "see the text")
