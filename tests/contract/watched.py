"""The agent's watch over a charon, running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dmvpn_agent.charon.sa_certificates import CertificateSource
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until


@asynccontextmanager
async def watched(
    vici: Path, telemetry: Telemetry, certificates: CertificateSource | None = None
) -> AsyncIterator[CharonWatch]:
    """Have the charon with this socket be watched, for the profile dmvpn; it has been looked at once."""
    watch = CharonWatch(ViciCharon(vici, telemetry), {"gre1": "dmvpn"}, telemetry, certificates=certificates)
    async with running(watch.run()):
        await until(lambda: watch.connected)
        yield watch
