"""Has registrations made again that are missing: this node's with its hubs, and those of peers with this node.

The rules say what is missing (``HubSas``, ``OrphanSas``), ``Patience`` decides whose IKE_SAs end for it.
"""

import asyncio
from collections.abc import Iterable

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.orphan_sas import UNBOUND, OrphanSas
from dmvpn_agent.enforcement.patience import Lack, Patience
from dmvpn_agent.enforcement.sa_terminator import Sas, SaTerminator
from dmvpn_agent.runtime.clocks import Uptime

#: Seconds between two checks: on a spoke, which has a few hubs, and on a hub with all its peers.
SPOKE_INTERVAL, HUB_INTERVAL = 0.5, 1.0
#: Once, when an IKE_SA is about to end, and nhrpd is read before.
READING_INTERVAL = 0.3


class Registrations:
    """Checks them. ``orphans`` is ``None`` on a node with which no peers register."""

    def __init__(
        self, sas: Sas, hubs: HubSas, orphans: OrphanSas | None, terminator: SaTerminator, clock: Uptime
    ) -> None:
        self._sas = sas
        self._hubs = hubs
        self._orphans = orphans
        self._terminator = terminator
        self._clock = clock
        self._patience = Patience()

    async def run(self) -> None:
        """Check until cancelled."""
        interval = HUB_INTERVAL if self._orphans else SPOKE_INTERVAL
        reading = False
        while True:
            before, reading = reading, await self.check()
            await asyncio.sleep(READING_INTERVAL if reading and not before else interval)

    async def check(self) -> bool:
        """Make one pass; return whether an IKE_SA is about to end, and nhrpd has to be read before."""
        lacks = await self._hubs.check()
        if self._orphans:
            lacks += self._orphans.check()
        due, unread = self._patience.due(self._clock(), lacks, self._sas.our_sas())
        if unread and self._orphans:
            self._orphans.read_again()
        await self._end(due)
        return unread

    async def _end(self, due: Iterable[Lack]) -> None:
        causes: dict[IkeSa, str] = {}
        for lack in due:
            for sa in lack.sas:
                causes.setdefault(sa, lack.cause)
            if self._orphans and lack.cause == UNBOUND:
                self._orphans.report(lack)
        await self._terminator.end(causes)
