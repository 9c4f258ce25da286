"""Other programs that keep rules in the kernel, started in the namespace of a test."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contract.namespaces import command
from fakes.waiting import until_now

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>
"""


@contextmanager
def _process(*words: str, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Firewalld:
    """firewalld, and its commands as an operator types them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def run(self, line: str) -> str:
        """Run a command. Raises ``CalledProcessError``."""
        done = subprocess.run(line.split(), env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _is_running(self) -> bool:
        asked = ["firewall-cmd", "--state"]
        return subprocess.run(asked, env=self._environment, capture_output=True, check=False).returncode == 0

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator["Firewalld"]:
        """Start it with a message bus and a configuration of its own."""
        # A socket's path has at most 108 bytes.
        bus = Path(f"/tmp/dmvpn-bus-{os.getpid()}-{time.monotonic_ns()}")
        (directory / "bus.conf").write_text(BUS.format(path=bus))
        (directory / "firewalld").mkdir()
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
        try:
            with _process(
                "dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork", log=directory / "bus.log"
            ):
                until_now(bus.exists)
                words = ("firewalld", "--nofork", "--nopid", "--system-config", f"{directory}/firewalld")
                with _process(*words, log=directory / "firewalld.log", environment=environment):
                    started = cls(environment)
                    until_now(started._is_running, within=90)
                    yield started
        finally:
            bus.unlink(missing_ok=True)


@contextmanager
def docker(directory: Path) -> Iterator[None]:
    """Run dockerd without any container; it leaves its rules behind when it ends."""
    path = Path(f"/tmp/dmvpn-docker-{os.getpid()}-{time.monotonic_ns()}")
    words = ("dockerd", "--iptables=true", "--storage-driver=vfs", "--data-root", f"{directory}/data", "--exec-root",
             f"{directory}/exec", "--pidfile", f"{directory}/docker.pid", "-H", f"unix://{path}")  # fmt: skip
    try:
        with _process(*words, log=directory / "dockerd.log"):
            until_now(lambda: _answers(path), within=90)
            yield
    finally:
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"OK" in client.recv(4096)
        except OSError:
            return False


def iptables_restore(text: str, program: str = "iptables") -> None:
    """Load rules as awall and netfilter-persistent do: what was in these tables is gone."""
    command(f"{program}-restore", stdin=text)
