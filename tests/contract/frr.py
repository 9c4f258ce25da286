"""A real bgpd for the contract tests: alone in a network namespace, without zebra."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.terminal import Terminal
from dmvpn_agent.frr.vty import TERMINATOR, VtySockets
from dmvpn_agent.frr.vtysh import Vtysh
from fakes.waiting import until_now

#: The environment may select another build of FRR.
BGPD = os.environ.get("BGPD", "/usr/lib/frr/bgpd")
VTYSH = os.environ.get("VTYSH", "vtysh")
HUB = """\
router bgp 65000
 bgp router-id 10.255.0.1
 no bgp default ipv4-unicast
 neighbor spokes peer-group
 neighbor spokes passive
 neighbor spokes disable-connected-check
 neighbor others peer-group
 neighbor hubs peer-group
 neighbor internal peer-group
 address-family ipv4 unicast
  neighbor spokes activate
  neighbor others activate
  neighbor hubs activate
  neighbor internal activate
 exit-address-family
"""
#: What a spoke at 10.255.0.2 with AS 64514 announces to it.
SPEAKER = """\
router bgp 64514
 bgp router-id 10.255.0.2
 no bgp network import-check
 no bgp ebgp-requires-policy
 timers bgp 1 3
 neighbor 10.255.0.1 remote-as 65000
 neighbor 10.255.0.1 timers connect 1
 neighbor 10.255.0.1 disable-connected-check
 neighbor 10.255.0.1 update-source 10.255.0.2
 address-family ipv4 unicast
  network 192.168.2.0/24
  network 192.168.2.64/26
  network 192.168.3.0/24
  network 10.0.0.0/8
 exit-address-family
"""


class Refused(Exception):
    """vtysh ended with an error."""


class RealBgpd:
    """One bgpd process; ``namespace`` is the process whose network namespace it shares, by default its own."""

    def __init__(self, config: str = HUB, namespace: int | None = None, address: str = "10.255.0.1") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bgpd-"))
        self._config = config
        self._namespace = namespace
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        (self.directory / "bgpd.conf").write_text(config)
        self.vtysh = vtysh_for(self.directory)
        self.directory.chmod(0o755)
        for path in (self.directory, *self.directory.iterdir()):
            shutil.chown(path, "frr", "frr")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def adapter(self, reader: str = "vty", writer: str = "vtysh", timeout: float = 15) -> FrrBgpd:
        """Return an adapter that reads and writes by vtysh or the vty sockets; the default is the configuration's."""
        terminals: dict[str, Terminal] = {
            "vtysh": Vtysh(str(self.vtysh), timeout),
            "vty": VtySockets(self.directory, timeout),
        }
        return FrrBgpd(terminals[reader], terminals[writer], Instance(65000))

    def start(self) -> None:
        path = self.directory
        enter = ["unshare", "-n"] if self._namespace is None else ["nsenter", "-n", "-t", str(self._namespace)]
        command = (
            f"ip link set lo up; ip addr add {self._address}/32 dev lo; exec {BGPD} -Z -n --vty_socket {path}"
            f" -i {path}/bgpd.pid -f {path}/bgpd.conf -A 127.0.0.1 -P 0 -l {self._address} --log file:{path}/log"
        )
        with (path / "output").open("ab") as output:
            self._process = subprocess.Popen([*enter, "sh", "-c", command], stdout=output, stderr=output)
        until_now(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "output").read_text()
        return self._vtysh(["show running-config"]).returncode == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _vtysh(self, lines: Sequence[str]) -> subprocess.CompletedProcess[str]:
        argv = [str(self.vtysh), "-d", "bgpd", *(word for line in lines for word in ("-c", line))]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)

    def type(self, *lines: str) -> str:
        """Run lines and return what they print. Raises ``Refused``."""
        done = self._vtysh(lines)
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def fresh(self, *lines: str) -> str:
        """Put back the configuration of the start, run lines on top of it, and return what they print."""
        config = self.type("show running-config")
        words = [line.split() for line in config.splitlines()]
        lists = {
            " ".join(line[:3]) for line in words if line[:1] in (["ip"], ["ipv6"]) and line[1:2] == ["prefix-list"]
        }
        remove = [f"no {name}" for name in sorted(lists)]
        router = ["no router bgp"] if "\nrouter bgp" in config else []
        return self.type("configure terminal", *router, *remove, *self._config.splitlines(), "end", *lines)


class KillingProxy:
    """A vty socket in front of bgpd's own. It passes on ``commands`` commands, then kills bgpd, once.

    bgpd dies at the same command whichever program writes and whatever the version shows of a transaction.
    """

    def __init__(self, real: RealBgpd, directory: Path, commands: int) -> None:
        self._real = real
        self._left = commands
        self._path = directory / "bgpd.vty"
        self.killed = False
        self.terminals: dict[str, Terminal] = {
            "vtysh": Vtysh(str(vtysh_for(directory))),
            "vty": VtySockets(directory),
        }

    async def __aenter__(self) -> "KillingProxy":
        self._server = await asyncio.start_unix_server(self._connected, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            answers, bgpd = await asyncio.open_unix_connection(self._real.directory / "bgpd.vty")
            try:
                while True:
                    bgpd.write(await self._command(reader))
                    writer.write(await answers.readuntil(TERMINATOR) + await answers.readexactly(1))
            finally:
                bgpd.transport.abort()
        writer.close()

    async def _command(self, reader: asyncio.StreamReader) -> bytes:
        command = await reader.readuntil(b"\0")
        if self._left == 0 and not self.killed:
            self._real.kill()
            self.killed = True
        self._left = max(self._left - 1, 0)
        return command


def vtysh_for(directory: Path) -> Path:
    """Write a program that runs vtysh on the vty sockets of a directory; return its path."""
    vtysh = directory / "vtysh"
    vtysh.write_text(f'#!/bin/sh\nexec {VTYSH} --vty_socket {directory} "$@"\n')
    vtysh.chmod(0o755)
    return vtysh


def available() -> bool:
    """Tell whether a bgpd can be run here."""
    return os.geteuid() == 0 and Path(BGPD).exists() and shutil.which(VTYSH) is not None


def version() -> tuple[int, ...]:
    """Return bgpd's version, (8, 4, 4) for one; empty if there is none."""
    if not available():
        return ()
    printed = subprocess.run([BGPD, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(number) for number in printed.split("version ")[1].split()[0].split("-")[0].split("."))
