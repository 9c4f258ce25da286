"""Makes sure that peers that were thrown out are gone: no IKE_SA, no binding, no neighbor.

That somebody was told to go proves nothing. Each of the three is looked for where it would be, until it is not there.
"""

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

#: After this long it is said that somebody will not go.
PATIENCE = timedelta(seconds=30)

#: Returns the addresses that are still there, ``None`` before the first look at them.
Present = Callable[[], frozenset[Address] | None]


@dataclass(slots=True)
class _Departing:
    revoked: Revoked
    since: timedelta
    said: bool = False


class TeardownWatch:
    """The revoked peers of which something is still there.

    ``bound`` returns the protocol addresses in nhrpd's cache, ``neighbors`` those with a neighbor of ours in FRR.
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
        telemetry.observe(metrics.REVOKED_PRESENT, lambda: len(self._departing))

    def add(self, revoked: Revoked) -> None:
        """Watch a peer go."""
        self._departing[revoked.request.protocol_address] = _Departing(revoked, self._clock())

    def check(self) -> None:
        """Look for what is still there of each."""
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
            elif now - departing.since >= PATIENCE and not departing.said:
                departing.said = True
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
