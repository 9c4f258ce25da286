"""Completes nhrpd's requests by charon's IKE_SAs with the NBMA address: their peers and certificates."""

import asyncio
from dataclasses import replace
from enum import Enum, auto
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import IkePeer, is_confirmed, is_proven, may_be_confirmed
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.request_certificate import is_superseded, with_current_certificate, with_sa_certificate
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: Seconds; nhrpd itself gives up after 10.
ASK_TIMEOUT = 4.0
#: Seconds between two reads of charon's IKE_SAs while a certificate is not known: the bridge finds it meanwhile.
ASK_PAUSE = 0.5


class Missing(Enum):
    """What the decision on a request depends on and the last read of charon's IKE_SAs did not show."""

    NOTHING = auto()
    #: A new read may show another IKE_SA, and decides.
    A_READ = auto()
    #: A certificate, or charon itself: the next read may not show it yet, but a later one.
    MORE = auto()


class SaSource(Protocol):
    """charon's IKE_SAs by NBMA address, in the connection of a tunnel interface, as last read."""

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        """Return the peers with an IKE_SA; ``None`` if charon is down."""

    def has_news(self, address: Address) -> bool:
        """Tell whether an IKE_SA there has come, gone or changed since the last read."""

    def certificates_at(self, interface: str, address: Address) -> tuple[Certificate, ...]:
        """Return the certificates that they proved, as far as these are known."""

    def certificates_complete(self, interface: str, address: Address) -> bool:
        """Tell whether all their certificates are known that ever will be: an IKE_SA is known a moment earlier."""

    async def refresh(self) -> None:
        """Read the IKE_SAs again, if charon is there."""

    async def refresh_certificates(self) -> None:
        """Read the certificates that were not known at the last read."""


class SaLookup:
    """Completes requests by what the source has."""

    def __init__(self, source: SaSource) -> None:
        self._source = source

    def complete(self, request: BindingRequest) -> BindingRequest:
        """Return a request with the peers at its NBMA address now, and the certificate that its peer proved last.

        The request has no peers if charon shows none or is down.
        """
        return self.with_current_certificate(replace(request, ike_peers=self._present(request) or frozenset()))

    def complete_earlier(self, request: BindingRequest) -> BindingRequest:
        """Complete an earlier request; it keeps the peers of then if charon shows none now.

        Its tunnel may be setting up again, or wait for the agent to bring it up.
        """
        present = self._present(request)
        return self.with_current_certificate(replace(request, ike_peers=present) if present else request)

    def complete_accepted(self, request: BindingRequest) -> BindingRequest:
        """Complete the request of an accepted peer, once the certificates of the IKE_SAs are known.

        If the bridge gives no answer for long, the name counts: an absent bridge removes no accepted peer.
        """
        if not self._source.certificates_complete(request.interface, request.nbma_address):
            return request
        completed = self.complete_earlier(request)
        peers = frozenset(replace(one, awaited=False) for one in completed.ike_peers or ())
        return replace(completed, ike_peers=peers) if peers else completed

    def with_current_certificate(self, request: BindingRequest) -> BindingRequest:
        """Return a request with the certificate that its peer has now."""
        proven = self._proven(request)
        return with_current_certificate(with_sa_certificate(request, proven), proven)

    async def refresh_certificates(self) -> None:
        """Read the certificates that were not known at the last read. Never raises."""
        try:
            await self._source.refresh_certificates()
        except Exception as error:
            log.warning("certificates_not_looked_for", why=str(error) or type(error).__name__)

    def must_ask(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether charon must be asked before nhrpd is answered."""
        return self.may_be_anothers(request) or self.is_insufficient(request, policy)

    def may_be_anothers(self, request: BindingRequest) -> bool:
        """Tell whether the peer may be another than those of the last read.

        A request without certificate names no peer: it is by one that has an IKE_SA at this moment, and that IKE_SA
        may have come, or replaced another one, since. So may a namesake's, if charon has reported an event there.
        """
        return request.certificate is None or self._source.has_news(request.nbma_address)

    def is_insufficient(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether the decision depends on charon's IKE_SAs, and those last read do not identify the peer."""
        return self._missing(request, policy) is not Missing.NOTHING

    def _missing(self, request: BindingRequest, policy: Policy) -> Missing:
        certificate, present = request.certificate, self._present(request)
        if isinstance(certificate, Certificate):
            if is_superseded(certificate, self._proven(request)):
                complete = self._source.certificates_complete(request.interface, request.nbma_address)
                return Missing.A_READ if complete else Missing.MORE
            if not policy.confirms_certificates or is_confirmed(certificate, present or ()):
                return Missing.NOTHING
            return Missing.MORE if present is None or may_be_confirmed(certificate, present) else Missing.A_READ
        if certificate is not None or (present and not any(map(is_proven, present))):
            return Missing.NOTHING
        completed = with_sa_certificate(replace(request, ike_peers=present or frozenset()), self._proven(request))
        return Missing.MORE if completed.certificate is None else Missing.NOTHING

    async def ask(self, request: BindingRequest, policy: Policy) -> bool:
        """Read charon's IKE_SAs again; return whether charon answered. Never raises.

        Repeats that, for as long as nhrpd can wait, while a certificate or charon itself may still come.
        """
        answered = False
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                await self._source.refresh()
                answered = True
                while self._missing(request, policy) is Missing.MORE:
                    await asyncio.sleep(ASK_PAUSE)
                    await self._source.refresh()
        except Exception as error:
            if answered and isinstance(error, TimeoutError):
                log.warning("certificate_not_known_in_time", nbma_address=str(request.nbma_address),
                            consequence="a peer whose name alone is known is denied, and judged again once the"
                            " bridge has looked for its certificate")  # fmt: skip
            else:
                log.warning("charon_not_asked", why=str(error) or type(error).__name__)
        return answered

    def _present(self, request: BindingRequest) -> frozenset[IkePeer] | None:
        return self._source.peers_at(request.interface, request.nbma_address)

    def _proven(self, request: BindingRequest) -> tuple[Certificate, ...]:
        return self._source.certificates_at(request.interface, request.nbma_address)
