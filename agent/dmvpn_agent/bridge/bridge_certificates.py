"""The certificates by IKE_SA, as the agent learns them: from the running bridge, or else from its file.

The bridge answers from memory, so that no full or hanging disk keeps a new peer out. Its file serves while the bridge
is not there, and with a bridge that does not know the command yet.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from dmvpn_agent.bridge import verdict_messages
from dmvpn_agent.bridge.certificate_table import CertificateFile
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.charon.vici import ViciError
from dmvpn_agent.charon.vici_client import ViciSession
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds for all that the bridge answers, and for reading its file. Together they are half of what an answer to
#: nhrpd may wait (``sa_lookup.ASK_TIMEOUT``).
ANSWER_TIMEOUT, FILE_TIMEOUT = 1.0, 1.0
#: Seconds before a bridge that did not answer is asked again: at first, and at most.
FIRST_RETRY, LONGEST_RETRY = 0.5, 2.0


class BridgeCertificates:
    """``socket``: where the bridge serves nhrpd. Without a bridge there is neither, and no certificate."""

    def __init__(self, file: Path, socket: Path, telemetry: Telemetry) -> None:
        self._file = CertificateFile(file, telemetry)
        self._socket = socket
        self._telemetry = telemetry
        self._trouble = Trouble()
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        self._read: asyncio.Future[Mapping[str, bytes]] | None = None

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) of these IKE_SAs, as far as the bridge has looked for them.

        Empty bytes mean that it found none. Never raises.
        """
        found: dict[str, bytes] = {}
        source = "bridge"
        if not await self._ask(tuple(spis), found):
            found |= await self._from_file([one for one in spis if one not in found])
            source = "file" if found else "none"
        self._telemetry.increment(metrics.CERTIFICATE_READS, source)
        return found

    async def _ask(self, spis: Sequence[str], found: dict[str, bytes]) -> bool:
        """Add what the bridge answers; return ``False`` if it does not say all, or did not a moment ago."""
        if self._backoff.delay:
            return False
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._exchange(spis, found)
        except (OSError, CharonLost, CommandFailed, ViciError) as error:
            self._backoff.failed()
            if self._trouble.is_new(str(error) or f"no answer within {ANSWER_TIMEOUT:g} s"):
                log.warning("bridge_not_asked", socket=str(self._socket), why=self._trouble.text,
                            consequence="its file is read; new peers whose certificate is not there are denied",
                            do="check that `dmvpn-agent bridge` runs, in this version, with this"
                            " bridge.listen")  # fmt: skip
            return False
        self._backoff.succeeded()
        self._trouble.over()
        return True

    async def _exchange(self, spis: Sequence[str], found: dict[str, bytes]) -> None:
        streams = await asyncio.open_unix_connection(self._socket)
        session = ViciSession(*streams, self._telemetry, 2 * ANSWER_TIMEOUT, max_waiting_events=1)
        try:
            for first in range(0, len(spis), verdict_messages.MAX_SAS):
                asked = verdict_messages.request(spis[first : first + verdict_messages.MAX_SAS])
                found |= await session.stream(
                    verdict_messages.COMMAND, asked, verdict_messages.EVENT, verdict_messages.read_verdict
                )
        finally:
            with suppress(OSError):
                await session.close()

    async def _from_file(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return what the file has; nothing if it takes too long. A disk that hangs occupies one thread."""
        if self._read is not None and not self._read.done():
            return {}
        self._read = asyncio.ensure_future(asyncio.to_thread(self._file.load, tuple(spis)))
        done, _ = await asyncio.wait({self._read}, timeout=FILE_TIMEOUT)
        return self._read.result() if done else {}
