"""Reads why peers fail to connect from charon's log, over VICI, if charon raises no alerts.

The connection is one of its own, so that a flood of messages delays no event about SAs. It is open only while it is
wanted: charon sends every message of level 1, some ten for each exchange with each peer.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.failure_log import Failure, FailureLog, may_matter
from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, ViciError, decode, encode
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two looks whether the log is wanted.
CHECK_INTERVAL = 5.0
#: Bytes read at once, and searched before the event loop continues.
_CHUNK = 1 << 14


class CharonLogWatch:
    """``wanted`` tells whether the log is to be read, ``failed`` receives what is found in it."""

    def __init__(
        self, path: Path, wanted: Callable[[], bool], failed: Callable[[Failure], None], telemetry: Telemetry
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._failed = failed
        self._telemetry = telemetry
        self._backoff = Backoff(CHECK_INTERVAL, 60)
        self._trouble = Trouble()

    async def run(self) -> None:
        """Read the log whenever it is wanted, until cancelled."""
        while True:
            await asyncio.sleep(max(CHECK_INTERVAL, self._backoff.delay))
            if not self._wanted():
                continue
            self._backoff.begin()
            try:
                await self._follow()
                self._backoff.succeeded()
                self._trouble.over()
            except (OSError, ViciError) as error:
                self._backoff.failed()
                if self._trouble.is_new(error):
                    log.warning("charon_log_unread", why=self._trouble.text,
                                consequence="peers that fail to authenticate are at the stage no_ike")  # fmt: skip

    async def _follow(self) -> None:
        """Read the log while it is wanted. Raises ``OSError``, ``ViciError``."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(encode(Packet(PacketType.EVENT_REGISTER, "log")))
            packets, failures = PacketReader(), FailureLog()
            while self._wanted():
                try:
                    async with asyncio.timeout(CHECK_INTERVAL):
                        data = await reader.read(_CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    raise ConnectionResetError("charon closed the connection")
                for body in packets.feed_bodies(data):
                    self._read(body, failures)
                await asyncio.sleep(0)  # reading buffered bytes does not yield to the event loop
        finally:
            writer.close()

    def _read(self, body: bytes, failures: FailureLog) -> None:
        if body[:1] == bytes([PacketType.EVENT_UNKNOWN]):
            raise ViciError("charon has no event named log")
        if may_matter(body) and (failure := failures.read(decode(body).message)):
            self._telemetry.increment(metrics.LOGGED_FAILURES, failure.kind)
            self._failed(failure)
