"""A node: its namespaces, the rendered files that users take, and the daemons in the order a boot starts them."""

import grp
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmvpn_lab import CHECKOUT, by_setup, frr_config, openrc, strongswan, wiring
from dmvpn_lab.issued import Credentials
from dmvpn_lab.namespace import CommandError, Namespace
from dmvpn_lab.scenario import Node, Scenario

# The service user may not enter the folder that the checkout lies in (a home is often 0700): it has these instead.
_INSTALLED = {"/run/lab/venv": Path(sys.prefix), "/run/lab/agent": CHECKOUT / "agent"}
AGENT = ("env", "PYTHONPATH=/run/lab/agent", "/run/lab/venv/bin/python", "-m", "dmvpn_agent.cli")
AGENT_USER = 9342
# The group of charon's own socket (swanctl/strongswan-*.conf); the agent and the bridge are all its members.
VICI_GROUP = ("charon-vici", 9343)
CONFIG = "/etc/dmvpn-agent/agent.toml"
CRL = "/etc/dmvpn-agent/crl/lab.crl"
# The certificate of every node of the scenario, by name, for commands that take one.
CERTIFICATES = "/run/lab/certificates"
BRIDGE_SOCKET = "/run/dmvpn-agent/charon.vici"
STATE = "/var/lib/dmvpn-agent"
CONTROL_SOCKET = "/run/dmvpn-agent/control.sock"
# The connection of swanctl/bridged.conf.
PROFILE = "dmvpn"
# A daemon that ends is noticed at once; one in an emulated VM on a busy machine only takes its time.
READY_SECONDS = 300.0
# Nothing of the machine's own is changed, and nothing seen of what may be there of the same programs.
_PRIVATE = ("/etc",)
_EMPTY = ("/run", "/etc/dmvpn-agent", "/etc/frr", "/etc/swanctl", "/var/lib", "/var/log", "/var/tmp")
_FRR = "/usr/lib/frr"
_FRR_CONFIG = "/etc/frr/frr.conf"
# Nodes differ from a machine only in where charon logs, and in which plugins are loaded: the machine may have many,
# some of which test all algorithms for half a minute in an emulated VM.
_STRONGSWAN = """
charon {
    load_modular = no
    load = random nonce aes sha1 sha2 x509 revocation constraints pubkey pkcs1 pkcs8 pem openssl hmac kdf gcm \
           kernel-netlink socket-default vici counters
    filelog {
        stderr {
            time_format = %H:%M:%S
            default = 1
            flush_line = yes
        }
    }
}
swanctl {
    load = random pem pkcs1 pkcs8 x509 pubkey openssl
}
"""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon of a node; it serves as soon as its Unix socket takes a connection."""

    name: str
    argv: tuple[str, ...]
    socket: str


def _as_service_user(*argv: str) -> tuple[str, ...]:
    """As deploy/openrc starts it: its user and groups, and no more than the two capabilities."""
    return (
        *("sh", "-c", 'umask 007; exec "$@"', "sh", "setpriv", f"--reuid={AGENT_USER}", "--regid=frrvty"),
        *(f"--groups={VICI_GROUP[1]}", "--inh-caps=+net_admin,+net_raw", "--ambient-caps=+net_admin,+net_raw", "--"),
        *argv,
    )


def _frr(name: str) -> Daemon:
    return Daemon(name, (f"{_FRR}/{name}", "-A", "127.0.0.1", "--log", "stdout"), f"/run/frr/{name}.vty")


def _frr_daemons() -> tuple[str, ...]:
    """FRR's daemons in the order of its own service: from FRR 10 on, staticd gets its routes from mgmtd."""
    mgmtd = ("mgmtd",) if Path(_FRR, "mgmtd").exists() else ()
    return (*mgmtd, "zebra", "staticd", "bgpd", "nhrpd")


def daemons(mode: strongswan.Mode) -> tuple[Daemon, ...]:
    """All daemons of a node in starting order: the VICI socket must be served before nhrpd starts."""
    bridge = Daemon("bridge", _as_service_user(*AGENT, "bridge", "--config", CONFIG), BRIDGE_SOCKET)
    return (
        Daemon("charon", (str(strongswan.charon()),), mode.socket),
        *((bridge,) if mode.bridge else ()),
        Daemon("agent", _as_service_user(*AGENT, "run", "--config", CONFIG), CONTROL_SOCKET),
        *(_frr(name) for name in _frr_daemons()),
    )


class LabNode:
    """A running node and the host behind it."""

    def __init__(self, node: Node, scenario: Scenario, files: Path, crl: bytes, work: Path) -> None:
        self.node = node
        self.logs = work / "logs" / node.name
        self.mode = strongswan.MODES[scenario.mode]
        self._scenario = scenario
        self._files = files
        self._crl = crl
        self._renewed: Credentials | None = None
        self._certificates = work / "certificates"
        self._disk = work / "disks" / node.name
        self.space = Namespace(node.name, _PRIVATE, _EMPTY)
        self.host = Namespace(f"{node.name}-lan")
        self._daemons = {daemon.name: daemon for daemon in daemons(self.mode)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._before: list[str] = []

    def start(self, router: Namespace | None, backup: Namespace | None = None) -> Iterator[str]:
        """Bring the node up, yielding what is done. Raises ``CommandError``."""
        yield "namespaces and links"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.space.start()
        self.host.start()
        wiring.attach_node(self.node, self.space, self._scenario, router)
        if backup is not None:
            wiring.attach_backup(self.node, self.space, self._scenario, backup)
        wiring.attach_host(self.node, self.space, self.host)
        self._write_files()
        if self.node.openrc:
            yield "OpenRC"
            self._boot_openrc()
        else:
            for name in self._daemons:
                yield name
                self.start_daemon(name)
        yield "FRR configuration"
        self._boot_frr()

    def _boot_openrc(self) -> None:
        """Have OpenRC start all daemons, and wait until each serves. Raises ``CommandError``."""
        openrc.runlevel(self.space)
        self._spawn("openrc", openrc.boot())
        for daemon in self._daemons.values():
            self._wait_until_served(daemon, "openrc")

    def start_daemon(self, name: str) -> None:
        """Start one daemon and wait until it serves. Raises ``CommandError``."""
        daemon = self._daemons[name]
        self._spawn(name, daemon.argv)
        self._wait_until_served(daemon, name)
        if name == "charon":
            self.space.run("swanctl", "--load-all", "--noprompt")

    def _spawn(self, name: str, argv: Sequence[str]) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = self.space.spawn(argv, log)

    def _wait_until_served(self, daemon: Daemon, process: str) -> None:
        """Wait for a daemon's socket while the process that is or starts it runs. Raises ``CommandError``."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._serves(daemon):
            if self._running[process].poll() is not None or time.monotonic() > deadline:
                last = (self.logs / f"{process}.log").read_text(errors="replace")[-2000:]
                raise CommandError(
                    f"{self.node.name}: {daemon.name} does not serve {daemon.socket}; the log ends:\n{last}"
                )
            time.sleep(0.1)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a daemon."""
        self._running[name].send_signal(number)

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a daemon and wait for its end. Raises ``CommandError`` if it stays."""
        self._running[name].send_signal(number)
        try:
            self._running[name].wait(30)
        except subprocess.TimeoutExpired:
            raise CommandError(f"{self.node.name}: {name} stays 30 s after {number.name}") from None

    def restart_daemon(self, name: str, number: signal.Signals) -> None:
        """End a daemon by a signal and start it again. Raises ``CommandError``."""
        self.kill(name, number)
        self.start_daemon(name)
        if self._daemons[name].argv[0].startswith(_FRR):
            # As FRR's own service does it: the daemon has no configuration file of its own.
            self._boot_frr("-d", name)

    def _boot_frr(self, *words: str) -> None:
        """Have vtysh give FRR its file. Raises ``CommandError`` if FRR does not show all of it afterwards."""
        printed = self.space.run("vtysh", "-b", *words)
        lacking = frr_config.lacking(
            self.space.path(_FRR_CONFIG).read_text(), self.space.run("vtysh", "-c", "show running-config")
        )
        if lacking:
            dropped = "\n".join(lacking)
            raise CommandError(
                f"{self.node.name}: FRR dropped lines of {_FRR_CONFIG}:\n{dropped}\n{printed}".rstrip()
            )

    def power_off(self, router: Namespace | None) -> None:
        """End the node at once, without notifying any peer; only its disk remains."""
        wiring.detach_node(self.node, router)
        self.space.stop()
        self.host.stop()
        self._running.clear()

    def configure(self, *lines: str) -> None:
        """Give vtysh lines of configuration. Raises ``CommandError``."""
        self.space.run("vtysh", *(word for line in ("configure terminal", *lines) for word in ("-c", line)))

    def renew(self, credentials: Credentials) -> None:
        """Put another certificate and key in place and have charon take them up, for the IKE_SAs to come."""
        self._renewed = credentials
        self._write_credentials(credentials)
        self.space.run("swanctl", "--load-all", "--noprompt")

    @property
    def started(self) -> bool:
        """Whether the node is on, all its daemons or some."""
        return bool(self._running)

    def dead(self) -> list[str]:
        """The daemons that were started and have ended."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def _serves(self, daemon: Daemon) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.space.path(daemon.socket)))
            except OSError:
                return False
        return True

    def publish(self, crl: bytes) -> None:
        """Put a CRL where the agent looks for it, in one move."""
        part = self.space.path(f"{CRL}.part")
        part.write_bytes(crl)
        part.chmod(0o644)
        part.rename(self.space.path(CRL))

    def _write_files(self) -> None:
        self._write("/etc/frr/vtysh.conf", "service integrated-vtysh-config\n", group="frrvty")
        self._write("/etc/swanctl/swanctl.conf", "include conf.d/*.conf\n")
        self._write("/etc/strongswan.d/lab.conf", _STRONGSWAN)
        # vtysh refuses a user without a name.
        user = f"{AGENT_USER}:{grp.getgrnam('frrvty').gr_gid}::/nonexistent:/bin/false"
        self._write_entry("/etc/passwd", "dmvpn-agent", user)
        name, number = VICI_GROUP
        self._write_entry("/etc/group", name, f"{number}:dmvpn-agent")
        self._disk.mkdir(parents=True, exist_ok=True)
        for target, source in (*_INSTALLED.items(), (CERTIFICATES, self._certificates), (STATE, self._disk)):
            self.space.run("install", "-d", target)
            self.space.run("mount", "--bind", str(source), target)
        self.space.run("install", "-d", "-o", "frr", "-g", "frrvty", "-m", "0755", "/run/frr")
        self.space.run("install", "-d", "-m", "1777", "/var/tmp")
        for folder in ("/run/dmvpn-agent", STATE):
            self.space.run("install", "-d", "-o", str(AGENT_USER), "-g", "frrvty", "-m", "0750", folder)
        if self.mode.bridge:
            self.space.run("ln", "-s", BRIDGE_SOCKET, "/run/charon.vici")
        for begun in sorted(self._files.iterdir()):
            self.space.run("cp", "-a", f"{begun}/.", f"/{begun.name}/")
        if self._scenario.setup:
            self._before = by_setup.files(self.space)
            self._run_setup(by_setup.BUNDLE, "--answers", by_setup.ANSWERS, "--no-start", "--yes")
        else:
            self.space.path(CRL).parent.mkdir()
        if self._renewed is not None:
            self._write_credentials(self._renewed)
        self.publish(self._crl)

    def _write_credentials(self, credentials: Credentials) -> None:
        self._write("/etc/swanctl/x509/node.pem", credentials.certificate.decode())
        self._write("/etc/swanctl/private/node.pem", credentials.key.decode())

    def undo_setup(self) -> None:
        """Undo it. Raises ``CommandError`` if a file below /etc is not as it was."""
        self.space.path(CRL).unlink()
        self._run_setup("--undo", "--yes")
        if differing := sorted(set(self._before).symmetric_difference(by_setup.files(self.space))):
            raise CommandError(f"{self.node.name}: setup --undo leaves: {'; '.join(differing[:10])}")

    def _run_setup(self, *words: str) -> None:
        # All nodes at once, in an emulated VM: a command may take longer than others have.
        printed = self.space.run(*AGENT, "setup", *words, seconds=READY_SECONDS)
        with (self.logs / "setup.log").open("a") as log:
            log.write(printed)

    def _write_entry(self, inside: str, name: str, rest: str) -> None:
        """Put a user or group into its file, in place of the machine's own of that name."""
        others = [line for line in Path(inside).read_text().splitlines() if not line.startswith(f"{name}:")]
        self._write(inside, "\n".join((*others, f"{name}:x:{rest}", "")), mode=0o644)

    def _write(self, inside: str, text: str, *, group: str = "root", mode: int = 0o640) -> None:
        file = self.space.path(inside)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.chown(file, 0, grp.getgrnam(group).gr_gid)
        file.chmod(mode)
