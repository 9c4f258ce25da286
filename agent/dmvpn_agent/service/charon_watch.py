"""Keeps the agent's picture of charon's SAs, and finds out which kind of strongSwan this is."""

from collections import Counter

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.sa import IkeSa
from dmvpn_agent.service.charon import PATCHED_EVENT, SA_EVENTS, Charon, CharonLost, CharonSession, follow, list_sas
from dmvpn_agent.service.telemetry import Samples, Telemetry

log = structlog.get_logger()

COALESCE = 0.2
RESYNC_INTERVAL = 60.0


class CharonWatch:
    """charon's IKE_SAs as last seen; ``patched`` is ``None`` until charon was asked."""

    def __init__(self, charon: Charon, telemetry: Telemetry) -> None:
        self._charon = charon
        self.connected = False
        self.patched: bool | None = None
        self.ike_sas: tuple[IkeSa, ...] = ()
        telemetry.observe(metrics.VICI_CONNECTED, lambda: self.connected)
        telemetry.observe(metrics.IKE_SAS, self._ike_states)
        telemetry.observe(metrics.CHILD_SAS, self._child_states)

    async def run(self) -> None:
        """Watch until cancelled, across charon's restarts."""
        while True:
            async with self._charon.session() as session:
                try:
                    await self._watch(session)
                except CharonLost as error:
                    log.warning("charon_lost", why=str(error))
                finally:
                    self.connected, self.ike_sas = False, ()

    async def _watch(self, session: CharonSession) -> None:
        for event in SA_EVENTS:
            await session.register(event)
        self._say_kind(await session.register(PATCHED_EVENT))

        async def look() -> None:
            self.ike_sas, self.connected = tuple(await list_sas(session)), True

        await follow(session, lambda *_: None, look, resync_interval=RESYNC_INTERVAL, coalesce=COALESCE)

    def _say_kind(self, patched: bool) -> None:
        if patched is self.patched:
            return
        self.patched = patched
        if patched:
            log.info("charon_is_patched", bridge="not needed: nhrpd can talk to charon directly")
        else:
            log.info("charon_is_unpatched", bridge="needed: nhrpd must find `dmvpn-agent bridge` at /run/charon.vici")

    def _ike_states(self) -> Samples:
        return {(state,): count for state, count in Counter(sa.state for sa in self.ike_sas).items()}

    def _child_states(self) -> Samples:
        states = Counter(child.state for sa in self.ike_sas for child in sa.children)
        return {(state,): count for state, count in states.items()}
