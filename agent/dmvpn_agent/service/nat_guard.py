"""Keeps a second peer behind one NAT address from taking the first one's packets.

The kernel sends what is for an NBMA address by the newest SA with it, so the second one's would carry the packets of
both. Its IKE_SA is ended whenever it comes, and what comes from its port is dropped for a while, or it would come and
go without pause, with a hole in the first one's traffic each time.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Address, BindingRequest, Reason
from dmvpn_agent.core.sa import IkeSa
from dmvpn_agent.core.standing import is_of
from dmvpn_agent.service.backoff import Trouble
from dmvpn_agent.service.clocks import Uptime
from dmvpn_agent.service.denied import Denied
from dmvpn_agent.service.redirect import FirewallError
from dmvpn_agent.service.sa_ender import SaEnder, Sas
from dmvpn_agent.service.telemetry import Telemetry

log = structlog.get_logger()

SILENCE = timedelta(minutes=10)

#: An NBMA address and the UDP port that the NAT has given a peer's IKE and ESP.
End = tuple[Address, int]


class Gate(Protocol):
    """Drops what comes from an end."""

    async def silence(self, end: End, span: timedelta) -> None:
        """Drop its packets for this long. Raises ``FirewallError``."""

    async def hear(self, end: End) -> None:
        """Let its packets in again; they need not be dropped. Raises ``FirewallError``."""


@dataclass(frozen=True, slots=True)
class _Silenced:
    request: BindingRequest
    until: timedelta


class NatGuard:
    """Acts on the peers that are denied their NBMA address; without a ``gate``, as on others that are denied."""

    def __init__(
        self,
        sas: Sas,
        ender: SaEnder,
        denied: Denied,
        telemetry: Telemetry,
        clock: Uptime,
        gate: Gate | None,
    ) -> None:
        self._sas = sas
        self._ender = ender
        self._denied = denied
        self._clock = clock
        self._gate = gate
        self._silenced: dict[End, _Silenced] = {}
        self._trouble = Trouble()
        telemetry.observe(metrics.SILENCED_PEERS, lambda: len(self._silenced))

    async def look(self) -> None:
        """End what must not be there, silence where it came from, and hear again whoever is not denied any more."""
        denials = [denial for denial in self._denied if denial.why.reason is Reason.NBMA_ADDRESS_CONFLICT]
        requests = {(one.request.protocol_address, one.request.nbma_address): one.request for one in denials}
        now = self._clock()
        self._silenced = {end: one for end, one in self._silenced.items() if now < one.until}
        for end, silenced in tuple(self._silenced.items()):
            if (silenced.request.protocol_address, silenced.request.nbma_address) not in requests:
                await self._hear(end, silenced.request)
        for request in requests.values():
            present = self._sas.sas_of(request.interface, request.nbma_address)
            for sa in present:
                if is_of(sa, request, present):
                    await self._keep_out(sa, request)

    async def _keep_out(self, sa: IkeSa, request: BindingRequest) -> None:
        # The kernel mixes the two up until it is gone, and once ended it comes back at once: silence comes first.
        if await self._silence(sa, request) or self._ender.due(sa):
            await self._ender.end({sa: Reason.NBMA_ADDRESS_CONFLICT})

    async def _silence(self, sa: IkeSa, request: BindingRequest) -> bool:
        """Return whether the peer's packets are dropped from here on."""
        end = sa.remote_host, sa.remote_port
        if end in self._silenced:
            return True
        if self._gate is None or self._is_shared(sa):
            return False
        try:
            await self._gate.silence(end, SILENCE)
        except FirewallError as error:
            if self._trouble.is_new(error):
                log.error(
                    "peer_not_silenced", why=self._trouble.text, consequence="it comes back, and is ended again"
                )
            return False
        self._silenced[end] = _Silenced(request, self._clock() + SILENCE)
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
                await self._gate.hear(end)
        except FirewallError as error:
            log.error("peer_stays_silenced", why=str(error), then=f"until {SILENCE} after it was silenced")
