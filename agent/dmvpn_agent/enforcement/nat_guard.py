"""Keeps a second peer behind one NAT address from taking the first one's packets.

The kernel sends what is for an NBMA address by the newest SA with it, so the second one's would carry the packets of
both. Its IKE_SA is ended whenever it comes, whether it registers or keeps silent, and what comes from its port is
dropped for a while, or it would come and go without pause, with a hole in the first one's traffic each time.
"""

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
from dmvpn_agent.kernel.redirect import FirewallError
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

SILENCE = timedelta(minutes=10)

#: An NBMA address and the UDP port that the NAT has given a peer's IKE and ESP.
End = tuple[Address, int]


class Gate(Protocol):
    """Drops what comes from an end."""

    async def block(self, end: End, span: timedelta) -> None:
        """Drop its packets for this long. Raises ``FirewallError``."""

    async def unblock(self, end: End) -> None:
        """Let its packets in again; they need not be dropped. Raises ``FirewallError``."""


@dataclass(frozen=True, slots=True)
class _Blocked:
    request: BindingRequest
    until: timedelta


class Ends(Sas, Protocol):
    """charon's IKE_SAs, and who proved themselves in them."""

    def certificate_of(self, sa: IkeSa) -> Certificate | None:
        """Return the certificate that the peer of an IKE_SA proved, ``None`` where it is not known."""


class NatGuard:
    """Acts on whoever shares the NBMA address of a peer that came before; without a ``gate``, by ending alone."""

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
        self._silenced: dict[End, _Blocked] = {}
        self._trouble = Trouble()
        telemetry.observe(metrics.SILENCED_PEERS, lambda: len(self._silenced))

    async def check(self) -> None:
        """End what must not be there, silence where it came from, and hear again whoever is kept out no more."""
        now = self._clock()
        unwanted = {**dict(self._silent(now)), **dict(self._denied_here())}
        causes = {request.pair for request in (*unwanted.values(), *self._requests())}
        self._silenced = {end: one for end, one in self._silenced.items() if now < one.until}
        for end, silenced in tuple(self._silenced.items()):
            if silenced.request.pair not in causes and not self._is_held(silenced.request, now):
                await self._hear(end, silenced.request)
        for sa, request in unwanted.items():
            await self._keep_out(sa, request)

    def _requests(self) -> list[BindingRequest]:
        return [one.request for one in self._denied if one.why.reason is Reason.NBMA_ADDRESS_CONFLICT]

    def _denied_here(self) -> Iterator[tuple[IkeSa, BindingRequest]]:
        """Yield the IKE_SAs of those who were denied their NBMA address, with what they asked."""
        for request in self._requests():
            present = self._sas.sas_of(request.interface, request.nbma_address)
            yield from ((sa, request) for sa in present if is_sa_of(sa, request, present))

    def _silent(self, now: timedelta) -> Iterator[tuple[IkeSa, BindingRequest]]:
        """Yield the IKE_SAs of others at a peer's NBMA address, whatever they ask, with what the peer asked.

        With its own port it may be the peer by another name, or whoever was given its address: these register.
        """
        for first in self._peers.live(now):
            request = first.request
            present = self._sas.sas_of(request.interface, request.nbma_address)
            if len(present) < 2:
                continue  # as with nearly everybody
            ports = {sa.remote_port for sa in present if self._is_peers(sa, first, present)}
            for sa in present:
                others = sa.remote_port not in ports and not self._is_peers(sa, first, present)
                if ports and others and any(child.installed for child in sa.children):
                    yield sa, request

    def _is_peers(self, sa: IkeSa, peer: Membership, present: tuple[IkeSa, ...]) -> bool:
        """Tell whether an IKE_SA is a peer's, also by a renewed certificate of another name."""
        proven = self._sas.certificate_of(sa)
        if proven is not None and isinstance(peer.request.certificate, Certificate):
            return proven.identity == peer.request.certificate.identity
        return is_sa_of(sa, peer.request, present)

    def _is_held(self, request: BindingRequest, now: timedelta) -> bool:
        """Tell whether the peer is still there for whose sake an end was silenced."""
        present = self._sas.sas_of(request.interface, request.nbma_address)
        return any(
            first.request.pair == request.pair and any(self._is_peers(sa, first, present) for sa in present)
            for first in self._peers.live(now)
        )

    async def _keep_out(self, sa: IkeSa, request: BindingRequest) -> None:
        # The kernel mixes the two up until it is gone, and once ended it comes back at once: silence comes first.
        if await self._block(sa, request) or self._terminator.may_terminate(sa):
            await self._terminator.end({sa: Reason.NBMA_ADDRESS_CONFLICT})

    async def _block(self, sa: IkeSa, request: BindingRequest) -> bool:
        """Return whether the peer's packets are dropped from here on."""
        end = sa.remote_host, sa.remote_port
        if end in self._silenced:
            return True
        if self._gate is None or self._is_shared(sa):
            return False
        try:
            await self._gate.block(end, SILENCE)
        except FirewallError as error:
            if self._trouble.is_new(error):
                log.error(
                    "peer_not_silenced", why=self._trouble.text, consequence="it comes back, and is ended again"
                )
            return False
        self._trouble.over()
        self._silenced[end] = _Blocked(request, self._clock() + SILENCE)
        log.warning("peer_silenced", remote_id=sa.remote_id, nbma_address=str(end[0]), port=end[1],
                    seconds=SILENCE.total_seconds(), why="another peer is behind this NAT address",
                    do="docs/nat.md")  # fmt: skip
        return True

    def _is_shared(self, sa: IkeSa) -> bool:
        """Tell whether somebody else has the same port: then there is no NAT, the address has passed from one on."""
        others = self._sas.sas_at(sa.remote_host)
        return any(other.remote_port == sa.remote_port and other.remote_id != sa.remote_id for other in others)

    async def _hear(self, end: End, request: BindingRequest) -> None:
        del self._silenced[end]
        log.info("peer_heard_again", protocol_address=str(request.protocol_address), nbma_address=str(end[0]),
                 port=end[1])  # fmt: skip
        try:
            if self._gate is not None:
                await self._gate.unblock(end)
        except FirewallError as error:
            log.error(
                "peer_stays_silenced",
                why=str(error),
                consequence=f"its packets are dropped until {SILENCE} after it was blocked",
            )
