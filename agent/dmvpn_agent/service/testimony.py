"""What charon says of whoever asks: who has an IKE_SA with the NBMA address, and by which certificate."""

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog

from dmvpn_agent.core.model import Address, BindingRequest, Certificate, IkePeer
from dmvpn_agent.core.policy import Policy
from dmvpn_agent.core.proof import renewed, with_certificate
from dmvpn_agent.core.standing import proves

log = structlog.get_logger()

#: Seconds; nhrpd itself gives up after 10.
LOOK_TIMEOUT = 4.0
#: Seconds between two looks for a certificate that is not known yet: the bridge takes it at the same moment.
LOOK_PAUSE = 0.5


class Witness(Protocol):
    """Knows who has an IKE_SA with an NBMA address."""

    def peers_at(self, address: Address) -> frozenset[IkePeer]:
        """Return who that was at the last look; nobody where charon is not there."""

    def certificates_at(self, address: Address) -> tuple[Certificate, ...]:
        """Return the certificates that they showed, as far as they are known."""

    async def look(self) -> None:
        """Ask charon again, if it is there."""


class Testimony:
    """Completes questions by what the witness says."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def complete(self, request: BindingRequest) -> BindingRequest:
        """Return a question with who is at its NBMA address now (without news, with who was), and a certificate."""
        present = self._witness.peers_at(request.nbma_address)
        if present and present != request.ike_peers:
            request = replace(request, ike_peers=present)
        if request.certificate is not None:
            return request
        return with_certificate(request, self._witness.certificates_at(request.nbma_address))

    def refresh(self, request: BindingRequest) -> BindingRequest:
        """Return a question of earlier with the certificate that its peer has now."""
        proven = self._witness.certificates_at(request.nbma_address)
        return renewed(with_certificate(request, proven), proven)

    def is_lacking(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether the decision hangs on it, and the last look may be too old to say."""
        present = self._witness.peers_at(request.nbma_address)
        if isinstance(request.certificate, Certificate):
            confirmed = any(proves(request.certificate, ike_peer.identity) for ike_peer in present)
            return policy.confirms and bool(present) and not confirmed
        if request.certificate is not None or (present and not any(one.has_certificate for one in present)):
            return False
        return not self._witness.certificates_at(request.nbma_address)

    async def ask(self, request: BindingRequest, policy: Policy) -> None:
        """Look again; for a certificate, until it is there or nhrpd should be answered. Never raises."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                await self._witness.look()
                while request.certificate is None and self.is_lacking(request, policy):
                    await asyncio.sleep(LOOK_PAUSE)
                    await self._witness.look()
        except Exception as error:
            log.warning("charon_not_asked", why=str(error) or type(error).__name__)
