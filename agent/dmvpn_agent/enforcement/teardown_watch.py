"""Checks that nothing of a revoked peer is left: no IKE_SA, no binding, no BGP neighbor.

Sending terminate does not prove that the peer left. The agent checks each of the three until it is gone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.enforcement.sa_terminator import Sas
from dmvpn_agent.policy.request import is_sa_of
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two checks.
CHECK_INTERVAL = 1.0
#: Time after which the agent logs that something of a peer is left.
PATIENCE = timedelta(seconds=30)

#: Returns the present addresses, ``None`` before they were read for the first time.
Present = Callable[[], frozenset[Address] | None]


@dataclass(slots=True)
class _Departing:
    revoked: Revoked
    since: timedelta
    logged: bool = False


class TeardownWatch:
    """The revoked peers of which something is left.

    ``bound`` returns the protocol addresses in nhrpd's cache, ``neighbors`` those of the agent's neighbors in FRR.
    """

    def __init__(
        self,
        peers: Peers,
        sas: Sas,
        bound: Present,
        neighbors: Present,
        telemetry: Telemetry,
        clock: Uptime,
    ) -> None:
        self._peers = peers
        self._sas = sas
        self._bound = bound
        self._neighbors = neighbors
        self._clock = clock
        self._departing: dict[Address, _Departing] = {}
        self._added = asyncio.Event()
        telemetry.observe(metrics.REVOKED_PRESENT, lambda: len(self._departing))

    def add(self, revoked: Revoked) -> None:
        """Start to check a revoked peer."""
        self._departing[revoked.request.protocol_address] = _Departing(revoked, self._clock())
        self._added.set()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._added.wait()
            await asyncio.sleep(CHECK_INTERVAL)
            self.check()
            if not self._departing:
                self._added.clear()

    def check(self) -> None:
        """Check what is left of each revoked peer."""
        now, bound, neighbors = self._clock(), self._bound(), self._neighbors()
        if bound is None or neighbors is None:
            return
        for address, departing in tuple(self._departing.items()):
            if address in self._peers:  # it is accepted again
                del self._departing[address]
                continue
            remains = self._remains(departing.revoked, bound, neighbors)
            seconds = round((now - departing.since).total_seconds(), 1)
            about = {"protocol_address": str(address), "why": str(departing.revoked.why), "seconds": seconds}
            if not remains:
                del self._departing[address]
                log.info("peer_gone", **about)
            elif now - departing.since >= PATIENCE and not departing.logged:
                departing.logged = True
                log.error("peer_not_gone", **about, still_there=remains)

    def _remains(self, revoked: Revoked, bound: frozenset[Address], neighbors: frozenset[Address]) -> list[str]:
        request = revoked.request
        address = request.protocol_address
        here = self._sas.sas_of(request.interface, request.nbma_address)
        return [
            what
            for what, there in (
                ("IKE_SA", any(is_sa_of(sa, request, here) for sa in here)),
                ("binding in nhrpd", address in bound),
                ("BGP neighbor", address in neighbors),
            )
            if there
        ]
