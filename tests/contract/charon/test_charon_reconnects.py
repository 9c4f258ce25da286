"""Connecting to charon again: never without pause, and never to itself."""

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
    """Notes how long each wait is to be, and does not wait."""

    delay = 0.0

    def __init__(self) -> None:
        super().__init__(FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL)
        self.waits: list[float] = []

    def failed(self) -> float:
        self.waits.append(super().failed())
        return self.waits[-1]


@asynccontextmanager
async def _closing_at(path: Path) -> AsyncIterator[None]:
    """A charon that accepts and closes."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(close, path):
        yield


async def test_a_charon_that_accepts_and_closes_is_asked_less_and_less(
    tmp_path: Path, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """And it is logged once: the connection alone is no success."""
    backoff = Impatient()
    watch = CharonWatch(ViciCharon(tmp_path / "vici", telemetry, backoff=backoff), {"gre1": "dmvpn"}, telemetry)
    async with _closing_at(tmp_path / "vici"), running(watch.run()):
        await until(lambda: len(backoff.waits) >= 8)
    assert backoff.waits[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]
    assert [entry["event"] for entry in logs].count("charon_lost") <= 2  # by the two ways that a connection ends


async def test_nothing_is_connected_to_before_its_time(tmp_path: Path, telemetry: Telemetry) -> None:
    """The wait is that of the back-off, which a standing clock never ends."""
    backoff = Backoff(1000, 1000, clock=lambda: 0)
    watch = CharonWatch(ViciCharon(tmp_path / "vici", telemetry, backoff=backoff), {"gre1": "dmvpn"}, telemetry)
    async with _closing_at(tmp_path / "vici"), running(watch.run()):
        await until(lambda: backoff.failures == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert backoff.failures == 1


async def test_a_process_does_not_take_its_own_socket_for_charons(
    tmp_path: Path, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """By whatever link it got there."""
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
    (said,) = [entry for entry in logs if entry["event"] == "charon_unreachable"]
    assert "bridge.listen" in said["why"]


async def test_a_bridge_whose_charon_is_a_link_to_itself_does_not_start(tmp_path: Path) -> None:
    """The message names both, and what to do."""
    process = BridgeProcess(tmp_path)
    (tmp_path / "real.vici").symlink_to(process.listen)
    argv = [str(process.program), "bridge", "--config", str(process.config)]
    ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert b"is the bridge's own socket" in ended.stderr
    assert not process.listen.exists()


async def test_a_link_that_is_turned_to_the_bridge_while_it_runs_is_refused(tmp_path: Path) -> None:
    """It goes back to charon as soon as the link does."""
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
