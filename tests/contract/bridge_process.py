"""The bridge as a process, in front of a charon that runs in the test."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.log_lines import logged
from factories import authority_pem
from fakes.waiting import until

CONFIG = """\
role = "spoke"
state_directory = "{directory}"
[ike]
vici_socket = "{directory}/real.vici"
[policy]
tunnel_networks = ["10.255.0.0/24"]
ca_certificates = ["{directory}/ca.pem"]
[bridge]
listen = "{directory}/charon.vici"
metrics_listen = ""
"""


class BridgeProcess:
    """``program``: the installed script that is run; ``install`` replaces it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listen = directory / "charon.vici"
        self.log = directory / "log"
        self.config = directory / "agent.toml"
        self.config.write_text(CONFIG.format(directory=directory))
        (directory / "ca.pem").write_bytes(authority_pem())
        self.program = directory / "dmvpn-agent"
        self.install()
        self.process: subprocess.Popen[bytes] | None = None

    def install(self, *lines: str) -> None:
        """Install a program that runs these lines first."""
        text = [
            f"#!{sys.executable}",
            "import sys",
            *lines,
            "from dmvpn_agent.cli.main import main",
            "sys.exit(main())",
        ]
        new = self.program.with_suffix(".new")
        new.write_text("\n".join(text))
        new.chmod(0o755)
        new.replace(self.program)

    async def start(self, ready: int = 1) -> None:
        with self.log.open("ab") as log:
            argv: Sequence[str] = [str(self.program), "bridge", "--config", str(self.config)]
            self.process = await asyncio.to_thread(subprocess.Popen, argv, stdout=log, stderr=log)
        await self.wait_for("bridge_ready", ready)

    def events(self, name: str) -> list[dict[str, Any]]:
        return logged(self.log, name)

    async def wait_for(self, name: str, count: int = 1) -> None:
        try:
            await until(lambda: len(self.events(name)) >= count)
        except TimeoutError:
            raise AssertionError(self.log.read_text()) from None

    async def upgrade(self) -> None:
        """Upgrade to the installed program, and wait until that has read charon."""
        before = len(self.events("bridge_ready"))
        self.signal(signal.SIGUSR2)
        await self.wait_for("bridge_ready", before + 1)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def descriptors(self) -> int:
        assert self.process is not None
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
