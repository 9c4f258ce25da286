"""Ends what two nodes that started towards each other have too many of, once things have settled."""

from collections.abc import Callable, Iterable, Set

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.surplus import surplus
from dmvpn_agent.charon.commands import end_ike_sa
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds for which a surplus IKE_SA must have stood there: a reauthentication has two for a moment as well.
SETTLING = 10.0
#: The same where the peer began it and should have ended it. That it did not means that it has no bridge, or does not
#: have the IKE_SA which we take for the better one, as after its charon was killed: then ours is the one to end.
SETTLING_FOR_PEER = 60.0


class SurplusEnder:
    """Ends the surplus IKE_SAs of the profiles; ``clock`` gives monotonic seconds."""

    def __init__(self, profiles: Set[str], telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._profiles = profiles
        self._telemetry = telemetry
        self._clock = clock
        self._since: dict[str, float] = {}

    async def check(self, session: CharonSession, sas: Iterable[IkeSa]) -> float | None:
        """Look once, and end what has been surplus for long enough. Raises ``CharonLost``.

        Returns in how many seconds the next look is due, ``None`` where nothing is surplus.
        """
        now = self._clock()
        found = surplus(sa for sa in sas if sa.name in self._profiles)
        self._since = {sa.spis: self._since.get(sa.spis, now) for sa, _ in found}
        for sa, best in found:
            victim, patience = (sa, SETTLING) if sa.initiator else (best, SETTLING_FOR_PEER)
            if victim.initiator and now - self._since[sa.spis] >= patience:
                self._since[sa.spis] = now  # once more after as long, should it still be there
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
