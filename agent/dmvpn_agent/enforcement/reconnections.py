"""Connects to peers that have no IKE_SA: those that are acceptable again, and those whose IKE_SA charon lost.

The agent repeats the request, because the kernel acquires no SA while an earlier attempt is pending. It asks for a
few at once: each peer has to authenticate. ``HubSas`` asks for the hubs that this node registers with.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.sa_requests import Asked, SaRequests
from dmvpn_agent.enforcement.sa_terminator import Sas, own_sas
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import Uptime

log = structlog.get_logger()

#: The agent asks for a connection often in the first minute, then each minute, and then stops.
OFTEN, OFTEN_FOR = timedelta(seconds=5), timedelta(minutes=1)
SELDOM, GIVE_UP_AFTER = timedelta(minutes=1), timedelta(minutes=15)
#: Seconds between two passes, and for how many peers a pass asks: for a thousand in less than a minute.
INTERVAL, AT_ONCE = 0.5, 10


@dataclass(slots=True)
class _Reconnection:
    local: Address
    request: BindingRequest
    since: timedelta
    due: timedelta
    until: timedelta


class Reconnections:
    """The peers to connect to, by NBMA address. In a ``dry_run`` the agent only logs them.

    A peer that is denied meanwhile is left out.
    """

    def __init__(
        self,
        sas: Sas,
        requests: SaRequests,
        hubs: HubSas,
        denials: DenialTable,
        clock: Uptime,
        *,
        dry_run: bool = False,
    ) -> None:
        self._sas = sas
        self._requests = requests
        self._hubs = hubs
        self._denials = denials
        self._clock = clock
        self._dry_run = dry_run
        self._reconnections: dict[Address, _Reconnection] = {}
        self._connecting = False
        self._added = asyncio.Event()

    async def run(self) -> None:
        """Connect until cancelled."""
        while True:
            await self._added.wait()
            await asyncio.sleep(INTERVAL)
            await self.connect()
            if not self._reconnections:
                self._added.clear()

    def add(self, request: BindingRequest, give_up_after: timedelta = GIVE_UP_AFTER) -> None:
        """Connect to the peer of a request, if the request has the local NBMA address."""
        if (local := request.local_nbma_address) is None:
            return
        if self._dry_run:
            log.info("would_invite", nbma_address=str(request.nbma_address))
            return
        now = self._clock()
        reconnection = _Reconnection(local, request, since=now, due=now, until=now + give_up_after)
        self._reconnections[request.nbma_address] = reconnection
        self._added.set()

    async def connect(self) -> None:
        """Ask charon for the connections that are due, ``AT_ONCE`` at most."""
        if self._connecting:
            return
        self._connecting = True
        try:
            asked = 0
            for remote, reconnection in tuple(self._reconnections.items()):
                if not self._is_wanted(reconnection):
                    self._reconnections.pop(remote, None)
                elif self._clock() >= reconnection.due and asked < AT_ONCE:
                    asked += 1
                    if await self._ask(reconnection) is Asked.AWAY:
                        break  # each of the others could take as long to fail, and the enforcer waits
        finally:
            self._connecting = False

    def _is_wanted(self, reconnection: _Reconnection) -> bool:
        request = reconnection.request
        over = self._clock() > reconnection.until or request in self._denials
        asked_for = self._hubs.has(request.interface, request.nbma_address)
        return not over and not asked_for and not own_sas(self._sas, request)

    async def _ask(self, reconnection: _Reconnection) -> Asked:
        request, now = reconnection.request, self._clock()
        elapsed = now - reconnection.since
        asked = await self._requests.ask(request.interface, reconnection.local, request.nbma_address)
        reconnection.due = now + (OFTEN if elapsed < OFTEN_FOR else SELDOM)
        if asked is Asked.SENT:
            log.info(
                "peer_invited",
                nbma_address=str(request.nbma_address),
                called_for=round(elapsed.total_seconds()),
            )
        elif asked is Asked.AWAY:
            reconnection.due = now + timedelta(seconds=INTERVAL)
        return asked
