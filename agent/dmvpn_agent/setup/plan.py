"""What setup changes: computed from the node, its bundle and the machine as it is, and nothing else.

A plan for a machine that is as it must be is empty. The order is the one in which an interruption does least harm:
accounts, files, then the services, each after what it needs (charon, tunnel, bridge, agent, FRR).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dmvpn_agent.setup import paths as at
from dmvpn_agent.setup.bundle import MAX_BUNDLE_BYTES, NHRPD_LIMIT, Bundle
from dmvpn_agent.setup.files import FileStep, node_files
from dmvpn_agent.setup.frr_text import Comparison, compare, section_text
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.refusal import Refusal
from dmvpn_agent.setup.services import Argv, Commands
from dmvpn_agent.setup.system import Manager, System, TunnelBy
from dmvpn_agent.setup.templates import frr_conf
from dmvpn_agent.x509.pem import PemError, der_blocks

USER, VICI_GROUP, VTY_GROUP = "dmvpn-agent", "charon-vici", "frrvty"
#: FRR's daemons without which a node cannot work.
FRR_NEEDED = ("zebra", "staticd", "bgpd", "nhrpd")
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
#: What the services make; undo removes it if it was not there before.
MADE_BY_SERVICES = ("/var/lib/dmvpn-agent", "/run/dmvpn-agent", "/var/lib/dmvpn-renew")
NHRPD_TERMINAL = "/run/frr/nhrpd.vty"
_CONCERNING = (at.AGENT_TOML, *(path for units in at.UNITS.values() for path in units))
_DELETE = ("ip", "link", "delete", "gre1")
_READABLE = ("/etc/swanctl", "/etc/swanctl/x509ca")


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that must exist."""

    path: str
    mode: int


@dataclass(frozen=True, slots=True)
class Group:
    """A system group that must exist."""

    name: str


@dataclass(frozen=True, slots=True)
class User:
    """The service user, and the groups that it must be a member of."""

    name: str
    groups: tuple[str, ...]
    exists: bool


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A value of the kernel, as a path below /proc/sys."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command. ``needed``: setup ends if it fails. ``service``: what it changes, which undo restarts."""

    argv: Argv
    needed: bool = True
    stdin: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A service to start, or to restart; ``ours``: it must start with the machine, and undo stops it.

    ``socket``: the Unix socket that it serves when it has started; empty for a timer.
    """

    service: str
    socket: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The commands that make the tunnel interface, and those that undo it."""

    commands: tuple[Argv, ...]
    undo: tuple[Argv, ...]


Step = Directory | Group | User | FileStep | Sysctl | Run | Restart | Tunnel


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in order. ``kept``: lines of FRR that stay as the operator has them, with setup's own."""

    steps: tuple[Step, ...]
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def files(self) -> tuple[FileStep, ...]:
        """Return the files that change."""
        return tuple(step for step in self.steps if isinstance(step, FileStep))

    @property
    def starts_frr(self) -> bool:
        """Tell whether FRR reads its configuration."""
        return any((isinstance(step, Restart) and step.socket == NHRPD_TERMINAL)
                   or (isinstance(step, Run) and step.argv[0] == "vtysh") for step in self.steps)  # fmt: skip


def make_plan(node: Node, bundle: Bundle, system: System, *, start: bool = True) -> Plan:
    """Return what has to change. ``start``: the services too."""
    changed = tuple(step for step in node_files(node, bundle, system) if not _is_so(step, system))
    steps: list[Step] = [*_accounts(system), *_directories(changed, system), *changed]
    if start and system.services.manager is not Manager.NONE:
        steps += _started(node, system, changed)
    running = frr_comparison(node, system)
    kept = tuple(f"{' / '.join(there)} (setup's: {wanted[-1]})" for there, wanted in running.kept)
    return Plan(tuple(steps), kept, tuple(_notes(node, system, start=start)))


def frr_comparison(node: Node, system: System) -> Comparison:
    """Compare the node's FRR configuration with the running one, or with the file if FRR does not run."""
    conf = system.files.get(at.FRR_CONF)
    text = conf.content.decode(errors="surrogateescape") if conf else ""
    return compare(frr_conf(node), text if system.frr_running is None else system.frr_running)


def refusals(node: Node, bundle: Bundle, system: System) -> tuple[Refusal, ...]:
    """Return why the plan cannot be carried out on this machine."""
    return (*_of_programs(system), *_of_frr(node, system), *_of_place(node, bundle, system))


def _of_programs(system: System) -> Iterator[Refusal]:
    if not system.root:
        yield Refusal("this user", "not root", "root", "run setup again with sudo, or as root")
    for daemon in FRR_NEEDED:
        if daemon not in system.frr_daemons:
            found = "FRR is without it" if system.frr_daemons else "FRR is not installed"
            yield Refusal(f"FRR's {daemon}", found, "an FRR with nhrpd and bgpd", "install one: apt install frr, or"
                          " apk add frr")  # fmt: skip
    if not system.has_swanctl:
        yield Refusal("strongSwan's swanctl", "it is not installed", "swanctl", "apt install strongswan-swanctl"
                      " charon-systemd, or apk add strongswan")  # fmt: skip
    if system.has_vici is None:
        yield Refusal("strongSwan's charon", "it is not installed", "a charon with the plugin vici", "apt install"
                      " charon-systemd, or apk add strongswan")  # fmt: skip
    elif not system.has_vici:
        yield Refusal("strongSwan's plugin vici", "it is not installed", "a charon with it", "apt install"
                      " libstrongswan-standard-plugins charon-systemd, or build strongSwan with"
                      " --enable-vici")  # fmt: skip


def _of_frr(node: Node, system: System) -> Iterator[Refusal]:
    conf = system.files.get(at.FRR_CONF)
    apart = [path for path in at.FRR_APART if path in system.files]
    if conf is None and apart:
        yield Refusal("FRR's configuration", f"each daemon has a file of its own: {', '.join(apart)}", at.FRR_CONF,
                      "`vtysh -c 'write integrated'`, then run setup again")  # fmt: skip
    for there, wanted in frr_comparison(node, system).conflicts:
        yield Refusal("FRR's configuration", " / ".join(there), wanted[-1],
                      "change that line in FRR, or the answers")  # fmt: skip


def _of_place(node: Node, bundle: Bundle, system: System) -> Iterator[Refusal]:
    for path, why in system.unwritable.items():
        yield Refusal(path, why, "a place that can be written", "remount it, or make room, then run setup again")
    if not system.program_reachable:
        yield Refusal(f"the program {system.program}", f"the user {USER} may not enter a folder above it", "a program"
                      " that the services can start", "install it in /opt or /usr/local, not in a home")  # fmt: skip
    other = system.files.get(at.authority_path(0))
    if other and system.files.get(at.KEY) and _der(other.content) not in map(_der, bundle.authorities):
        yield Refusal(
            at.authority_path(0),
            "this node has a key and certificate of another CA",
            "the CA of the bundle",
            "`dmvpn-agent setup --undo`, or move that file and the node's certificate away, then run setup again",
        )
    if not node.bridged and len(bundle.certificate.der) >= NHRPD_LIMIT:
        size = len(bundle.certificate.der)
        yield Refusal("the certificate", f"{size} bytes long", f"less than {NHRPD_LIMIT}: without the bridge, nhrpd"
                      " keeps no longer one", "ask the CA for one with fewer resources")  # fmt: skip


def _der(pem: bytes) -> list[bytes]:
    try:
        return der_blocks(pem, "CERTIFICATE", MAX_BUNDLE_BYTES)
    except PemError:
        return []


def _notes(node: Node, system: System, *, start: bool) -> Iterator[str]:
    if node.renewal_server and system.services.manager is not Manager.SYSTEMD:
        yield "the certificate is renewed by cron: `dmvpn-agent renew` must run every quarter of an hour, as root"
    if start and system.services.manager is Manager.NONE:
        yield "no service manager runs here: start charon, dmvpn-bridge, dmvpn-agent and FRR in this order"


def _is_so(step: FileStep, system: System) -> bool:
    found = system.files.get(step.path)
    if found is None or step.content is None:
        return found is None and step.content is None
    return (found.content, found.mode, found.owner, found.group) == (step.content, step.mode, step.owner, step.group)


def _accounts(system: System) -> Iterator[Step]:
    for group in (VICI_GROUP, USER):
        if group not in system.groups:
            yield Group(group)
    wanted = (VTY_GROUP, VICI_GROUP)
    if USER not in system.users or any((USER, group) not in system.memberships for group in wanted):
        yield User(USER, wanted, USER in system.users)


def _directories(changed: tuple[FileStep, ...], system: System) -> Iterator[Step]:
    needed = dict.fromkeys(
        str(parent)
        for path in (*(step.path for step in changed if step.content is not None), f"{at.CRLS}/x")
        for parent in reversed(PurePosixPath(path).parents)
        if len(parent.parts) > 2
    )
    for path in needed:
        if path in _READABLE and system.directories.get(path) != 0o755:
            yield Directory(path, 0o755)
        elif path not in system.directories:
            yield Directory(path, 0o700 if path.endswith("/private") else 0o755)


def _started(node: Node, system: System, changed: tuple[FileStep, ...]) -> Iterator[Step]:
    """Yield the services to start, and what comes between them."""
    commands, paths = Commands(system.services.manager), {step.path for step in changed}
    again = system.unfinished

    def concerns(*prefixes: str) -> bool:
        return again or any(path.startswith(prefixes) for path in paths)

    if concerns(at.MODULES):
        yield Run(("modprobe", "-a", "ip_gre", "nfnetlink_log"), needed=False)
    for path in FORWARDING if node.has_ipv6 else FORWARDING[:1]:
        if system.sysctls.get(path) != "1":
            yield Sysctl(path, "1")
    if concerns("/etc/systemd/system/") and (argv := commands.reload_units()):
        yield Run(argv)
    if concerns(at.APPARMOR) and node.bridged and system.has_apparmor:
        yield Run(("systemctl", "reload", "apparmor"), needed=False)
    services = system.services
    vici = "/run/charon.real.vici" if node.bridged else "/run/charon.vici"
    if concerns("/etc/strongswan.d/") or services.charon not in services.active:
        yield Restart(services.charon, vici)
    if concerns("/etc/strongswan.d/", "/etc/swanctl/") or services.charon not in services.active:
        yield Run(("swanctl", "--load-all", "--noprompt"), service=services.charon)
    yield from _tunnel(node, system, again=concerns(at.TUNNEL_INTERFACES, at.NETDEV, at.NETWORK))
    if node.bridged:
        yield from _ours("dmvpn-bridge", "/run/dmvpn-agent/charon.vici", system, concerns(*_CONCERNING))
    yield from _ours("dmvpn-agent", "/run/dmvpn-agent/control.sock", system, concerns(*_CONCERNING))
    if node.renewal_server and services.manager is Manager.SYSTEMD:
        yield from _ours(at.RENEW_TIMER, "", system, concerns(*at.RENEW_UNITS[Manager.SYSTEMD]))
    yield from _frr_started(node, system, concerns(at.FRR_DAEMONS))


def _ours(service: str, socket: str, system: System, concerned: bool) -> Iterator[Step]:
    services = system.services
    if concerned or service not in services.active or service not in services.enabled:
        yield Restart(service, socket, ours=True)


def _tunnel(node: Node, system: System, *, again: bool) -> Iterator[Step]:
    if node.tunnel_by is TunnelBy.OPERATOR or ("gre1" in system.links and not again):
        return
    down: tuple[Argv, ...] = (_DELETE,) if "gre1" in system.links else ()
    if node.tunnel_by is TunnelBy.IFUPDOWN:
        yield Tunnel((*down, ("ifup", "--force", "gre1")), (("ifdown", "--force", "gre1"), _DELETE))
    elif node.tunnel_by is TunnelBy.NETWORKD:
        yield Tunnel((*down, ("networkctl", "reload")), (_DELETE,))
    else:
        yield Tunnel((), (_DELETE,))


def _frr_started(node: Node, system: System, daemons_changed: bool) -> Iterator[Step]:
    services = system.services
    if system.frr_running is None or daemons_changed or services.frr not in services.active:
        yield Restart(services.frr, NHRPD_TERMINAL)
    elif missing := frr_comparison(node, system).missing:
        yield Run(("vtysh", "-f", "/dev/stdin"), stdin=section_text(missing), service=services.frr)
