"""Finds the peers whose IKE_SA was lost with charon, or with the whole node, and has a hub call them.

A peer notices only by dead peer detection that the hub's charon was killed: 40 s with the shipped files. The agent
knows its peers, also across its own restart, and asks charon to connect to them. A peer behind NAT is not reachable:
it comes by itself. A spoke does not call other spokes: traffic goes through the hub meanwhile.
"""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.sa_terminator import Sas, own_sas
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.policy.request import BindingType

log = structlog.get_logger()

#: Seconds between two checks.
CHECK_INTERVAL = 0.5
#: How long the agent calls a peer. After that the peer has noticed, or is not there.
CALL_FOR = timedelta(minutes=1)


class SasOfSessions(Sas, Protocol):
    """charon's IKE_SAs; ``sessions`` grows each time that charon was connected to and has listed them."""

    @property
    def connected(self) -> bool:
        """Tell whether charon is connected to, and has listed them."""

    @property
    def sessions(self) -> int:
        """Return the number of such connections so far."""


class LostPeers:
    """Calls the accepted peers that have no IKE_SA after charon was connected to.

    ``callable_types``: the types of binding whose peers this node calls; hubs that it registers with are not among
    them (``HubSas``).
    """

    def __init__(
        self,
        sas: SasOfSessions,
        peers: Peers,
        reconnections: Reconnections,
        stale: StaleSas,
        callable_types: Collection[BindingType],
    ) -> None:
        self._sas = sas
        self._peers = peers
        self._reconnections = reconnections
        self._stale = stale
        self._callable = callable_types
        self._session = 0
        self._seen: tuple[IkeSa, ...] = ()
        self._behind_nat: set[Address] = set()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_INTERVAL)

    def check(self) -> None:
        """Call the peers that have no IKE_SA, if charon was connected to since the last check."""
        if not self._sas.connected:
            return
        if self._sas.ike_sas is not self._seen:
            self._seen = self._sas.ike_sas
            for sa in self._sas.our_sas():
                (self._behind_nat.add if sa.nat_remote else self._behind_nat.discard)(sa.remote_host)
        self._stale.remove_old()
        if self._session == self._sas.sessions:
            return
        self._session = self._sas.sessions
        self._stale.find()
        lost = [member.request for member in self._peers.memberships() if not own_sas(self._sas, member.request)]
        called = [request for request in lost if self._is_callable(request.nbma_address, request.binding_type)]
        for request in called:
            self._reconnections.add(request, CALL_FOR)
        if lost:
            log.info("peers_without_ike_sa", peers=len(lost), called=len(called), why="charon was started")

    def _is_callable(self, address: Address, binding_type: BindingType) -> bool:
        return binding_type in self._callable and address not in self._behind_nat
