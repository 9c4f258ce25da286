"""What charon says of whoever asks: who has an IKE_SA with the NBMA address, and by which certificate."""

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import IkePeer, is_confirmed, is_proven
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.request_certificate import is_superseded, with_current_certificate, with_sa_certificate
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: Seconds; nhrpd itself gives up after 10.
ASK_TIMEOUT = 4.0
#: Seconds between two looks for a certificate that is not known yet: the bridge takes it at the same moment.
ASK_PAUSE = 0.5


class SaSource(Protocol):
    """Knows who has an IKE_SA with an NBMA address, in the connection of a tunnel interface."""

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        """Return who that was at the last look; ``None`` where charon is away."""

    def certificates_at(self, interface: str, address: Address) -> tuple[Certificate, ...]:
        """Return the certificates that they proved, as far as they are known."""

    def certificates_complete(self, interface: str, address: Address) -> bool:
        """Tell whether no certificate of theirs can still be on its way: an IKE_SA is known a moment before it is."""

    async def refresh(self) -> None:
        """Ask charon again, if it is there."""

    async def refresh_certificates(self) -> None:
        """Look for certificates that were not known at the last look."""


class SaLookup:
    """Completes questions by what the source says."""

    def __init__(self, source: SaSource) -> None:
        self._source = source

    def complete(self, request: BindingRequest) -> BindingRequest:
        """Return a question with who is at its NBMA address now, and the certificate that its peer proved last.

        Where charon shows nobody, or is away, nobody is there.
        """
        return self.refresh(replace(request, ike_peers=self._present(request) or frozenset()))

    def complete_former(self, request: BindingRequest) -> BindingRequest:
        """Do the same for a question of earlier; where nobody is there now, it keeps who was.

        Its tunnel may be setting up anew, or wait for being called.
        """
        present = self._present(request)
        return self.refresh(replace(request, ike_peers=present) if present else request)

    def complete_again(self, request: BindingRequest) -> BindingRequest:
        """Do that for a question that was accepted, which is not to be judged by half of the news."""
        settled = self._source.certificates_complete(request.interface, request.nbma_address)
        return self.complete_former(request) if settled else request

    def refresh(self, request: BindingRequest) -> BindingRequest:
        """Return a question with the certificate that its peer has now."""
        proven = self._proven(request)
        return with_current_certificate(with_sa_certificate(request, proven), proven)

    async def refresh_certificates(self) -> None:
        """Look for certificates that were not known at the last look. Never raises."""
        try:
            await self._source.refresh_certificates()
        except Exception as error:
            log.warning("certificates_not_looked_for", why=str(error) or type(error).__name__)

    def must_look(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether charon has to be asked before an answer.

        A question without certificate names nobody: whoever has an IKE_SA now is who asks, and may have come a moment
        ago, in the place or beside the peer of the last look.
        """
        return request.certificate is None or self.is_lacking(request, policy)

    def is_lacking(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether the decision hangs on it, and the last look may be too old to say."""
        present = self._present(request) or frozenset()
        if isinstance(request.certificate, Certificate):
            unconfirmed = policy.confirms_certificates and not is_confirmed(request.certificate, present)
            return unconfirmed or is_superseded(request.certificate, self._proven(request))
        if request.certificate is not None or (present and not any(map(is_proven, present))):
            return False
        asked = replace(request, ike_peers=present)
        return with_sa_certificate(asked, self._proven(request)).certificate is None

    def _present(self, request: BindingRequest) -> frozenset[IkePeer] | None:
        return self._source.peers_at(request.interface, request.nbma_address)

    def _proven(self, request: BindingRequest) -> tuple[Certificate, ...]:
        return self._source.certificates_at(request.interface, request.nbma_address)

    async def ask(self, request: BindingRequest, policy: Policy) -> bool:
        """Look again; for a certificate, or for charon, until nhrpd should be answered. Never raises.

        Returns whether there was a look.
        """
        looked = False
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                await self._source.refresh()
                looked = True
                while self._may_come(request) and self.is_lacking(request, policy):
                    await asyncio.sleep(ASK_PAUSE)
                    await self._source.refresh()
        except Exception as error:
            log.warning("charon_not_asked", why=str(error) or type(error).__name__)
        return looked

    def _may_come(self, request: BindingRequest) -> bool:
        """Tell whether a later look can show more: a certificate, or charon, if the agent has just started."""
        certificate = request.certificate
        if isinstance(certificate, Certificate) and is_superseded(certificate, self._proven(request)):
            return not self._source.certificates_complete(request.interface, request.nbma_address)
        return certificate is None or self._present(request) is None
