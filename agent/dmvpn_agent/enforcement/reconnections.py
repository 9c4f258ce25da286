"""Asks charon to connect to peers that are acceptable again and have no IKE_SA.

The agent repeats the request, because the kernel acquires no SA while an earlier attempt is pending.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.enforcement.sa_terminator import Sas, own_sas
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: The agent asks for a connection often in the first minute, then each minute, and then stops.
OFTEN, OFTEN_FOR = timedelta(seconds=5), timedelta(minutes=1)
SELDOM, GIVE_UP_AFTER = timedelta(minutes=1), timedelta(minutes=15)


class Reconnector(Protocol):
    """Asks charon to initiate an IKE_SA."""

    async def initiate(self, interface: str, local: Address, remote: Address) -> None:
        """Initiate the connection of a tunnel interface between two NBMA addresses.

        Raises ``CharonLost``, ``CommandFailed``.
        """


@dataclass(slots=True)
class _Reconnection:
    local: Address
    request: BindingRequest
    since: timedelta
    due: timedelta


class Reconnections:
    """The peers to connect to, by NBMA address. In a ``dry_run`` the agent only logs them."""

    def __init__(
        self, sas: Sas, reconnector: Reconnector, telemetry: Telemetry, clock: Uptime, *, dry_run: bool = False
    ) -> None:
        self._sas = sas
        self._reconnector = reconnector
        self._telemetry = telemetry
        self._clock = clock
        self._dry_run = dry_run
        self._reconnections: dict[Address, _Reconnection] = {}

    def add(self, request: BindingRequest) -> None:
        """Connect to the peer of a request, if the request has the local NBMA address."""
        if (local := request.local_nbma_address) is None:
            return
        if self._dry_run:
            log.info("would_invite", nbma_address=str(request.nbma_address))
            return
        now = self._clock()
        self._reconnections[request.nbma_address] = _Reconnection(local, request, since=now, due=now)

    async def connect(self) -> None:
        """Ask charon for each connection that is due."""
        for reconnection in tuple(self._reconnections.values()):
            if not await self._connect(reconnection):
                break  # each of the others could take as long to fail, and denied peers wait for the next pass

    async def _connect(self, reconnection: _Reconnection) -> bool:
        """Ask for one connection if it is due; return ``False`` if charon cannot be reached."""
        request, now = reconnection.request, self._clock()
        remote, elapsed = request.nbma_address, now - reconnection.since
        if own_sas(self._sas, request) or elapsed > GIVE_UP_AFTER:
            del self._reconnections[remote]
            return True
        if now < reconnection.due:
            return True
        reconnection.due = now + (OFTEN if elapsed < OFTEN_FOR else SELDOM)
        try:
            await self._reconnector.initiate(request.interface, reconnection.local, remote)
        except (CharonLost, CommandFailed) as error:
            self._telemetry.increment(metrics.INVITATIONS, "failed")
            log.warning(
                "not_invited", nbma_address=str(remote), why=str(error), consequence="the agent tries again later"
            )
            return not isinstance(error, CharonLost)
        self._telemetry.increment(metrics.INVITATIONS, "sent")
        log.info("peer_invited", nbma_address=str(remote), called_for=round(elapsed.total_seconds()))
        return True
