"""Ends duplicate IKE_SAs, which two nodes have if both start at once (``duplicates``)."""

from collections.abc import Callable, Iterable, Set

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.duplicates import duplicates
from dmvpn_agent.charon.commands import end_ike_sa
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds before this node ends a duplicate that it began: a reauthentication has two IKE_SAs for a moment as well.
SETTLING = 10.0
#: Seconds before this node ends its own IKE_SA because the peer has not ended the duplicate that it began. The peer
#: then has no bridge, or does not have the IKE_SA that should stay, because its charon was killed.
SETTLING_FOR_PEER = 60.0


class DuplicateTerminator:
    """Ends the duplicates of the profiles; ``clock`` gives monotonic seconds."""

    def __init__(self, profiles: Set[str], telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._profiles = profiles
        self._telemetry = telemetry
        self._clock = clock
        self._since: dict[str, float] = {}

    async def check(self, session: CharonSession, sas: Iterable[IkeSa]) -> float | None:
        """End the duplicates that have existed for long enough. Raises ``CharonLost``.

        Returns the seconds until the next check, ``None`` if there is no duplicate.
        """
        now = self._clock()
        found = duplicates(sa for sa in sas if sa.name in self._profiles)
        self._since = {sa.spis: self._since.get(sa.spis, now) for sa, _ in found}
        for sa, staying in found:
            victim, patience = (sa, SETTLING) if sa.initiator else (staying, SETTLING_FOR_PEER)
            if victim.initiator and now - self._since[sa.spis] >= patience:
                self._since[sa.spis] = now  # try again after the same time if the duplicate still exists
                await self._end(session, victim)
        return SETTLING if found else None

    async def _end(self, session: CharonSession, sa: IkeSa) -> None:
        outcome = "ended"
        try:
            await end_ike_sa(session, sa)
        except CommandFailed:
            outcome = "gone"
        self._telemetry.increment(metrics.BRIDGE_SURPLUS, outcome)
        log.info("surplus_ike_sa_ended", remote=str(sa.remote_host), remote_id=sa.remote_id, ike_id=sa.unique_id,
                 why="both sides had started; another IKE_SA with this peer stays")  # fmt: skip
