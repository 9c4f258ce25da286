"""The connection to charon: retried with back-off, and never made to the process itself."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.bridge_process import BridgeProcess
from dmvpn_agent.charon.vici_client import FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL, ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.backoff import Backoff
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.charon import FakeCharon
from fakes.waiting import running, until

pytestmark = pytest.mark.contract


class Impatient(Backoff):
    """Records each wait and does not wait."""

    delay = 0.0

    def __init__(self) -> None:
        super().__init__(FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL)
        self.waits: list[float] = []

    def failed(self) -> float:
        self.waits.append(super().failed())
        return self.waits[-1]


@asynccontextmanager
async def _closing_at(path: Path) -> AsyncIterator[None]:
    """Serve a charon that accepts and closes."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(close, path):
        yield


async def test_a_charon_that_accepts_and_closes_is_retried_with_back_off(
    tmp_path: Path, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """A connection alone is no success, and the trouble is logged once."""
    backoff = Impatient()
    watch = CharonWatch(ViciCharon(tmp_path / "vici", telemetry, backoff=backoff), {"gre1": "dmvpn"}, telemetry)
    async with _closing_at(tmp_path / "vici"), running(watch.run()):
        await until(lambda: len(backoff.waits) >= 8)
    assert backoff.waits[:8] == [0.2, 0.4, 0.8, 1, 1, 1, 1, 1]
    assert [entry["event"] for entry in logs].count("charon_lost") <= 2  # a connection can end in two ways


async def test_no_connection_is_made_before_the_back_off_ends(tmp_path: Path, telemetry: Telemetry) -> None:
    """With a clock that stands still, the back-off never ends."""
    backoff = Backoff(1000, 1000, clock=lambda: 0)
    watch = CharonWatch(ViciCharon(tmp_path / "vici", telemetry, backoff=backoff), {"gre1": "dmvpn"}, telemetry)
    async with _closing_at(tmp_path / "vici"), running(watch.run()):
        await until(lambda: backoff.failures == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert backoff.failures == 1


async def test_a_process_does_not_connect_to_its_own_socket(
    tmp_path: Path, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """The path in the configuration is a link to it."""
    backoff = Impatient()
    (tmp_path / "link").symlink_to(tmp_path / "vici")
    charon = FakeCharon(tmp_path / "vici")  # it runs in this process
    await charon.start()
    watch = CharonWatch(
        ViciCharon(tmp_path / "link", telemetry, refuses_itself=True, backoff=backoff), {"gre1": "dmvpn"}, telemetry
    )
    async with running(watch.run()):
        await until(lambda: len(backoff.waits) >= 3)
    await charon.stop()
    assert not charon.requests
    (logged,) = [entry for entry in logs if entry["event"] == "charon_unreachable"]
    assert "bridge.listen" in logged["why"]


async def test_a_bridge_whose_charon_is_a_link_to_itself_does_not_start(tmp_path: Path) -> None:
    """The message names the socket."""
    process = BridgeProcess(tmp_path)
    (tmp_path / "real.vici").symlink_to(process.listen)
    argv = [str(process.program), "bridge", "--config", str(process.config)]
    ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert b"is the bridge's own socket" in ended.stderr
    assert not process.listen.exists()


async def test_a_link_that_changes_to_the_bridges_own_socket_is_refused(tmp_path: Path) -> None:
    """Once the link leads to charon again, the bridge connects to it."""
    process = BridgeProcess(tmp_path)
    charon = FakeCharon(tmp_path / "other.vici")
    await charon.start()
    link = tmp_path / "real.vici"
    link.symlink_to(charon.path)
    try:
        await process.start()
        link.unlink()
        link.symlink_to(process.listen)
        await charon.stop()
        await process.wait_for("charon_unreachable")
        assert "bridge.listen" in process.events("charon_unreachable")[0]["why"]
        await charon.start()
        link.unlink()
        link.symlink_to(charon.path)
        await process.wait_for("bridge_ready", 2)
    finally:
        process.kill()
        await charon.stop()
