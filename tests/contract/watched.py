"""The agent's watch over a charon, running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dmvpn_agent.charon.sa_certificates import CertificateSource
from dmvpn_agent.charon.sa_gauges import observe_sas
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until


@asynccontextmanager
async def watched(
    vici: Path, telemetry: Telemetry, certificates: CertificateSource | None = None, **listeners: Any
) -> AsyncIterator[CharonWatch]:
    """Follow the charon with this socket, for the profile dmvpn; its SAs were listed once.

    ``listeners``: ``changed`` and ``learn_authorities`` of ``CharonWatch``.
    """
    watch = CharonWatch(
        ViciCharon(vici, telemetry), {"gre1": "dmvpn"}, telemetry, certificates=certificates, **listeners
    )
    observe_sas(telemetry, watch)
    async with running(watch.run()):
        await until(lambda: watch.connected)
        yield watch
