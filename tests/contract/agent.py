"""An agent as a process."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contract.log_lines import logged
from dmvpn_agent.runtime.control_client import read_status
from factories import der, event
from fakes.waiting import until_now

CONFIG = """\
role = "spoke"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/no.vici"
[policy]
confirm_certificates = false
tunnel_networks = ["10.255.0.0/24"]
[frr]
vtysh = "{directory}/no-vtysh"
vty_directory = "{directory}"
[metrics]
listen = ""
"""
TODAY = datetime.now(UTC).replace(microsecond=0)
VALID = der(not_before=TODAY - timedelta(days=1), not_after=TODAY + timedelta(days=1)).hex()


class Agent:
    """An agent process with its files in one directory. ``enter``: a prefix of its command line, as for nsenter."""

    def __init__(self, directory: Path, config: str = CONFIG, enter: Sequence[str] = ()) -> None:
        self.directory = directory
        self.enter = enter
        self.config = directory / "agent.toml"
        self.config.write_text(config.format(directory=directory))
        self.log = directory / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str, command: str = "run", stderr: int | None = None) -> subprocess.Popen[bytes]:
        """``stderr``: the descriptor of its log, instead of the file."""
        argv = [*self.enter, sys.executable, "-m", "dmvpn_agent.cli", command, "--config", str(self.config), *options]
        with self.log.open("ab") as log:
            self.processes.append(subprocess.Popen(argv, stdout=log, stderr=log if stderr is None else stderr))
        return self.processes[-1]

    def events(self, name: str) -> list[dict[str, Any]]:
        return logged(self.log, name)

    def wait_for(self, name: str, count: int = 1) -> None:
        with contextlib.suppress(TimeoutError):
            until_now(lambda: len(self.events(name)) >= count)
        assert len(self.events(name)) >= count, self.log.read_text()

    def ask(self, question: bytes = b"", interface: str = "gre1") -> bytes:
        with socket.socket(socket.AF_UNIX) as nhrpd:
            nhrpd.settimeout(30)
            nhrpd.connect(str(self.directory / "nhrp.sock"))
            nhrpd.sendall(question or event(der_hex=VALID, interface=interface))
            return nhrpd.recv(1000)

    def status(self) -> dict[str, Any]:
        return asyncio.run(self.status_now())

    async def status_now(self) -> dict[str, Any]:
        return await read_status(self.directory / "control.sock")

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
