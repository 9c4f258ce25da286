"""What setup changes: computed from the node, its bundle and the machine as it is, and nothing else.

A plan for a machine that is as it must be is empty. The order is the one in which an interruption does least harm:
accounts, files, then the services, each after what it needs (charon, tunnel, bridge, agent, FRR).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dmvpn_agent.setup import paths as at
from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.files import FileStep, node_files, settled
from dmvpn_agent.setup.frr_text import Comparison, compare, section_text
from dmvpn_agent.setup.node import Node
from dmvpn_agent.setup.services import Argv, Commands
from dmvpn_agent.setup.system import FirewallBy, Manager, System, TunnelBy
from dmvpn_agent.setup.templates import frr_conf

USER, VICI_GROUP, VTY_GROUP = "dmvpn-agent", "charon-vici", "frrvty"
#: FRR's daemons without which a node cannot work.
FRR_NEEDED = ("zebra", "staticd", "bgpd", "nhrpd")
#: Modules without which there is no tunnel: GRE, and IPsec.
TUNNEL_MODULES = ("ip_gre", "esp4")
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
    """A command. ``otherwise``: what follows if it fails, and what to do; without it, setup ends then.

    ``service``: what it changes, which undo restarts. ``writes``: files that it changes. ``again``: undo runs it too,
    once the files that it reads are as before.
    """

    argv: Argv
    otherwise: str = ""
    stdin: str = ""
    service: str = ""
    writes: tuple[str, ...] = ()
    again: bool = False


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
    """Return what has to change. ``start``: the services too. Raises ``Refused``."""
    wanted = {step.path: settled(step, system) for step in node_files(node, bundle, system)}
    changed = tuple(step for steps in wanted.values() for step in steps if not _is_so(step, system))
    steps: list[Step] = [*_accounts(system), *_directories(changed, system), *changed]
    if start and system.services.manager is not Manager.NONE:
        steps += _started(node, system, changed)
    running = frr_comparison(node, system)
    kept = tuple(f"{' / '.join(there)} (setup's: {wanted[-1]})" for there, wanted in running.kept)
    stays = (f"{path} stays as you have changed it" for path, steps in wanted.items() if not steps)
    said = (note for steps in wanted.values() for step in steps for note in step.notes)
    notes = (*said, *stays, *_notes(node, system, start=start))
    return Plan(tuple(steps), kept, notes)


def frr_comparison(node: Node, system: System) -> Comparison:
    """Compare the node's FRR configuration with the running one, or with the file if FRR does not run."""
    conf = system.files.get(at.FRR_CONF)
    text = conf.content.decode(errors="surrogateescape") if conf else ""
    return compare(frr_conf(node), text if system.frr_running is None else system.frr_running)


def _notes(node: Node, system: System, *, start: bool) -> Iterator[str]:
    if node.renewal_server and system.services.manager is not Manager.SYSTEMD:
        files = ", ".join(at.RENEW_UNITS[system.services.manager])
        yield (f"the certificate is renewed by {files}: crond must run" if files else "setup installs nothing here"
               " that renews the certificate: run `dmvpn-agent renew` every quarter of an hour, as root")  # fmt: skip
    if start and system.lacks_modules:
        lacking = ", ".join(system.lacks_modules)
        yield (f"this kernel ({system.kernel}) seems to lack {lacking}: neither loaded, built in nor installed;"
               " without GRE there is no tunnel, without ESP no IPsec: boot the distribution's kernel, or install its"
               " modules")  # fmt: skip
    if start and system.services.manager is Manager.NONE:
        bridge = " `dmvpn-agent bridge`," if node.bridged else ""
        yield f"no service manager runs here: start charon,{bridge} `dmvpn-agent run` and FRR yourself, in this order"


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
            yield Directory(path, 0o700 if path.endswith(("/private", at.OWN_FOLDER)) else 0o755)


def _started(node: Node, system: System, changed: tuple[FileStep, ...]) -> Iterator[Step]:
    """Yield the services to start, and what comes between them."""
    commands, paths = Commands(system.services.manager), {step.path for step in changed}
    again = system.unfinished

    def concerns(*prefixes: str) -> bool:
        return again or any(path.startswith(prefixes) for path in paths)

    if concerns(at.MODULES):
        yield Run(("modprobe", "-a", *TUNNEL_MODULES, "nfnetlink_log"), otherwise="modules that are built into the"
                  " kernel need no loading; without the others there is no tunnel, or no shortcut")  # fmt: skip
    for path in FORWARDING if node.has_ipv6 else FORWARDING[:1]:
        if system.sysctls.get(path) != "1":
            yield Sysctl(path, "1")
    if concerns("/etc/systemd/system/") and (argv := commands.reload_units()):
        yield Run(argv)
    if concerns(at.APPARMOR) and node.bridged and system.has_apparmor:
        yield Run(("systemctl", "try-reload-or-restart", "apparmor"), otherwise="AppArmor keeps its former rules: if"
                  " it is in force, swanctl cannot open charon's socket until `apparmor_parser -r"
                  f" {at.APPARMOR_PROFILE}` succeeds")  # fmt: skip
    if concerns("/etc/firewalld/", "/etc/awall/"):
        yield from _firewall(node)
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


def _firewall(node: Node) -> Iterator[Step]:
    if node.firewall is FirewallBy.FIREWALLD:
        yield Run(("firewall-cmd", "--reload"), again=True)
    elif node.firewall is FirewallBy.AWALL:
        yield Run(("awall", "activate", "--force"), writes=at.AWALL_RULES, again=True)


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
