"""When charon's log is read, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dmvpn_agent.charon import log_watch, metrics
from dmvpn_agent.charon.failure_log import Failure
from dmvpn_agent.charon.log_watch import CharonLogWatch
from dmvpn_agent.charon.vici import Packet, PacketType, encode
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

MESSAGES = (
    ("IKE", "203.0.113.2 is initiating an IKE_SA"),
    ("NET", "sending packet"),
    ("ENC", "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"),
)


class Log:
    """A charon that sends its log to whoever connects, and the watch that reads it while ``wanted``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wanted = False
        self.open = self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.failures: list[Failure] = []
        self.telemetry = Telemetry()
        self.watch = CharonLogWatch(path, lambda: self.wanted, self.failures.append, self.telemetry)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.open += 1
        self.connections += 1
        for group, said in MESSAGES:
            message = {"group": group, "msg": said, "ikesa-uniqueid": "1"}
            writer.write(encode(Packet(PacketType.EVENT, "log", message)))
        while await reader.read(100):
            pass
        self.open -= 1
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, self.path)
        async with server:
            yield
            for writer in self._writers:
                writer.close()


@pytest.fixture
def charon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(log_watch, "CHECK_INTERVAL", 0.01)
    return Log(tmp_path / "vici")


async def test_the_log_is_read_only_while_it_is_wanted(charon: Log) -> None:
    """A healthy node has no connection for it."""
    async with charon.serving(), running(charon.watch.run()):
        charon.wanted = True
        await until(lambda: charon.failures)
        charon.wanted = False
        await until(lambda: not charon.open)
        charon.wanted = True
        await until(lambda: charon.connections == 2)
    assert charon.failures[0].kind == "peer-auth-failed"
    assert charon.telemetry.value(metrics.LOGGED_FAILURES, "peer-auth-failed") >= 1


async def test_a_charon_that_goes_away_is_connected_to_again(charon: Log) -> None:
    """The part goes on; nothing else depends on it."""
    charon.wanted = True
    async with running(charon.watch.run()):
        async with charon.serving():
            await until(lambda: charon.open)
        charon.path.unlink(missing_ok=True)
        async with charon.serving():
            await until(lambda: charon.connections >= 2)
