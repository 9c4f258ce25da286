"""Keeps a second peer behind one NAT address from receiving the first peer's packets.

The kernel sends packets for an NBMA address by the newest SA with it, so the second peer's SA would carry the packets
of both. The agent ends the second peer's IKE_SA whenever it appears, and drops the packets from its port for a while:
otherwise the peer would reconnect without a pause, and interrupt the first peer's traffic each time.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peer_index import Membership
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.enforcement.sa_terminator import Sas, SaTerminator
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

BLOCK_TIME = timedelta(minutes=10)

#: An NBMA address and the UDP port to which the NAT maps a peer's IKE and ESP.
End = tuple[Address, int]


class Gate(Protocol):
    """Drops packets from an end, in nftables."""

    async def block(self, end: End, span: timedelta) -> None:
        """Drop its packets for the given time. Raises ``FirewallError``."""

    async def unblock(self, end: End) -> None:
        """Accept its packets again; they need not be blocked. Raises ``FirewallError``."""


@dataclass(frozen=True, slots=True)
class _Blocked:
    request: BindingRequest
    until: timedelta


class Ends(Sas, Protocol):
    """charon's IKE_SAs with their certificates."""

    def certificate_of(self, sa: IkeSa) -> Certificate | None:
        """Return the certificate that the peer of an IKE_SA proved; ``None`` if it is not known."""


class NatGuard:
    """Ends the IKE_SAs of further peers at a peer's NBMA address, and blocks their ports if there is a ``gate``."""

    def __init__(
        self,
        sas: Ends,
        terminator: SaTerminator,
        peers: Peers,
        denied: DenialTable,
        telemetry: Telemetry,
        clock: Uptime,
        gate: Gate | None,
    ) -> None:
        self._sas = sas
        self._terminator = terminator
        self._peers = peers
        self._denied = denied
        self._clock = clock
        self._gate = gate
        self._blocked: dict[End, _Blocked] = {}
        self._trouble = Trouble()
        self._counted: tuple[IkeSa, ...] | None = None
        self._has_crowd = False
        self._telemetry = telemetry
        telemetry.observe(metrics.SILENCED_PEERS, lambda: len(self._blocked))

    async def check(self) -> None:
        """End such IKE_SAs and block their ports; unblock the ports whose cause has ended."""
        now = self._clock()
        unwanted = {**dict(self._unregistered(now)), **dict(self._denied_sas())}
        causes = {request.pair for request in (*unwanted.values(), *self._requests())}
        self._blocked = {end: one for end, one in self._blocked.items() if now < one.until}
        for end, blocked in tuple(self._blocked.items()):
            if blocked.request.pair not in causes and not self._is_held(blocked.request, now):
                await self._unblock(end, blocked.request)
        for sa, request in unwanted.items():
            await self._keep_out(sa, request)

    def _requests(self) -> list[BindingRequest]:
        return [one.request for one in self._denied if one.why.reason is Reason.NBMA_ADDRESS_CONFLICT]

    def _denied_sas(self) -> Iterator[tuple[IkeSa, BindingRequest]]:
        """Yield the IKE_SAs of the peers that were denied for their NBMA address, with their requests."""
        for request in self._requests():
            present = self._sas.sas_of(request.interface, request.nbma_address)
            yield from ((sa, request) for sa in present if is_sa_of(sa, request, present))

    def _unregistered(self, now: timedelta) -> Iterator[tuple[IkeSa, BindingRequest]]:
        """Yield the IKE_SAs of other peers at a live peer's NBMA address, with the live peer's request.

        One from the live peer's own port may be that peer under another name, or a peer that was given its address:
        these register, and their requests are decided.
        """
        if not self._crowded():
            return  # the usual case
        for first in self._peers.live(now):
            request = first.request
            present = self._sas.sas_of(request.interface, request.nbma_address)
            if len(present) < 2:
                continue
            ports = {sa.remote_port for sa in present if self._is_peers(sa, first, present)}
            for sa in present:
                others = sa.remote_port not in ports and not self._is_peers(sa, first, present)
                if ports and others and any(child.installed for child in sa.children):
                    yield sa, request

    def _crowded(self) -> bool:
        """Tell whether any NBMA address has two IKE_SAs: counted once for each list of charon's."""
        if self._sas.ike_sas is not self._counted:
            self._counted = self._sas.ike_sas
            counts = Counter(sa.remote_host for sa in self._sas.our_sas())
            self._has_crowd = any(count > 1 for count in counts.values())
        return self._has_crowd

    def _is_peers(self, sa: IkeSa, peer: Membership, present: tuple[IkeSa, ...]) -> bool:
        """Tell whether an IKE_SA is a peer's, also if its renewed certificate has another name."""
        proven = self._sas.certificate_of(sa)
        if proven is not None and isinstance(peer.request.certificate, Certificate):
            return proven.identity == peer.request.certificate.identity
        return is_sa_of(sa, peer.request, present)

    def _is_held(self, request: BindingRequest, now: timedelta) -> bool:
        """Tell whether the peer that an end was blocked for is still connected."""
        present = self._sas.sas_of(request.interface, request.nbma_address)
        return any(
            first.request.pair == request.pair and any(self._is_peers(sa, first, present) for sa in present)
            for first in self._peers.live(now)
        )

    async def _keep_out(self, sa: IkeSa, request: BindingRequest) -> None:
        # Block first: an IKE_SA that was only ended comes back at once.
        if await self._block(sa, request) or self._terminator.may_terminate(sa):
            await self._terminator.end({sa: Reason.NBMA_ADDRESS_CONFLICT})

    async def _block(self, sa: IkeSa, request: BindingRequest) -> bool:
        """Block the peer's port; return whether it is blocked."""
        end = sa.remote_host, sa.remote_port
        if end in self._blocked:
            return True
        if self._gate is None or self._is_shared(sa):
            return False
        try:
            await self._gate.block(end, BLOCK_TIME)
        except FirewallError as error:
            self._telemetry.increment(metrics.SILENCES, "failed")
            if self._trouble.is_new(error):
                log.error(
                    "peer_not_silenced",
                    why=self._trouble.text,
                    consequence="the agent ends its IKE_SA each time it comes back",
                )
            return False
        self._trouble.over()
        self._blocked[end] = _Blocked(request, self._clock() + BLOCK_TIME)
        self._telemetry.increment(metrics.SILENCES, "silenced")
        log.warning("peer_silenced", remote_id=sa.remote_id, nbma_address=str(end[0]), port=end[1],
                    seconds=BLOCK_TIME.total_seconds(), why="another peer is behind this NAT address",
                    do="docs/nat.md")  # fmt: skip
        return True

    def _is_shared(self, sa: IkeSa) -> bool:
        """Tell whether another peer has the same port: then there is no NAT, and the address changed hands."""
        others = self._sas.sas_at(sa.remote_host)
        return any(other.remote_port == sa.remote_port and other.remote_id != sa.remote_id for other in others)

    async def _unblock(self, end: End, request: BindingRequest) -> None:
        del self._blocked[end]
        self._telemetry.increment(metrics.SILENCES, "ended")
        log.info("peer_heard_again", protocol_address=str(request.protocol_address), nbma_address=str(end[0]),
                 port=end[1])  # fmt: skip
        try:
            if self._gate is not None:
                await self._gate.unblock(end)
        except FirewallError as error:
            log.error(
                "peer_stays_silenced",
                why=str(error),
                consequence=f"its packets are dropped until {BLOCK_TIME} after it was blocked",
            )
