"""Completes nhrpd's requests by charon's IKE_SAs with the NBMA address: their peers and certificates."""

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
#: Seconds between two reads of charon's IKE_SAs while a certificate is not known: the bridge finds it meanwhile.
ASK_PAUSE = 0.5
#: How many answers that could be given by the name alone wait for a certificate at once. If they took all the room
#: (``waiting_requests``), as where the bridge's disk is full, requests that cannot be answered would be denied.
MAX_CONFIRMED_BY_NAME = 64


class SaSource(Protocol):
    """charon's IKE_SAs by NBMA address, in the connection of a tunnel interface, as last read."""

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        """Return the peers with an IKE_SA; ``None`` if charon is down."""

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
        self._confirmed_by_name = 0

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
        """Complete the request of an accepted peer, once the certificates of the IKE_SAs are known."""
        complete = self._source.certificates_complete(request.interface, request.nbma_address)
        return self.complete_earlier(request) if complete else request

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
        """Tell whether charon must be asked before nhrpd is answered.

        A request without certificate names no peer: it is by one that has an IKE_SA at this moment, and that IKE_SA
        may have come, or replaced another one, since the last read.
        """
        return request.certificate is None or self.is_insufficient(request, policy)

    def is_insufficient(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether the decision depends on charon's IKE_SAs, and those last read do not identify the peer."""
        present = self._present(request) or frozenset()
        if isinstance(request.certificate, Certificate):
            unconfirmed = policy.confirms_certificates and not is_confirmed(request.certificate, present)
            superseded = is_superseded(request.certificate, self._proven(request))
            return unconfirmed or superseded or self._is_confirmed_by_name_only(request, policy)
        if request.certificate is not None or (present and not any(map(is_proven, present))):
            return False
        completed = with_sa_certificate(replace(request, ike_peers=present), self._proven(request))
        return completed.certificate is None

    async def ask(self, request: BindingRequest, policy: Policy) -> bool:
        """Read charon's IKE_SAs again; return whether charon answered. Never raises.

        Repeats that, for as long as nhrpd can wait, while a certificate or charon itself may still come.
        """
        answered = known = False
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                await self._source.refresh()
                answered = True
                known = await self._wait(request, policy)
        except Exception as error:
            if not (answered and isinstance(error, TimeoutError)):
                log.warning("charon_not_asked", why=str(error) or type(error).__name__)
                return answered
        if not known:
            log.warning("certificate_not_known_in_time", nbma_address=str(request.nbma_address),
                        consequence="the peer is judged by its name and the certificate that nhrpd has")  # fmt: skip
        return answered

    async def _wait(self, request: BindingRequest, policy: Policy) -> bool:
        """Read charon's IKE_SAs until they suffice, or no more can come; return ``False`` if too many wait already.

        Raises ``CharonLost``.
        """
        while self._may_come(request, policy) and self.is_insufficient(request, policy):
            by_name = self._is_confirmed_by_name_only(request, policy)
            if by_name and self._confirmed_by_name >= MAX_CONFIRMED_BY_NAME:
                return False
            self._confirmed_by_name += by_name
            try:
                await asyncio.sleep(ASK_PAUSE)
                await self._source.refresh()
            finally:
                self._confirmed_by_name -= by_name
        return True

    def _may_come(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether a later read can show more: a certificate, or charon if the agent has just started."""
        certificate = request.certificate
        if isinstance(certificate, Certificate) and is_superseded(certificate, self._proven(request)):
            return not self._source.certificates_complete(request.interface, request.nbma_address)
        by_name_only = self._is_confirmed_by_name_only(request, policy)
        return by_name_only or certificate is None or self._present(request) is None

    def _is_confirmed_by_name_only(self, request: BindingRequest, policy: Policy) -> bool:
        """Tell whether only IKE_SAs confirm a request's certificate whose own certificate is awaited.

        nhrpd keeps certificates by address. The IKE_SA may have come since, from a peer with the same name whose
        certificate another CA issued: the bridge finds none for it.
        """
        certificate, present = request.certificate, self._present(request) or frozenset()
        if not (isinstance(certificate, Certificate) and policy.confirms_certificates):
            return False
        known = frozenset(one for one in present if one.certificate)
        return (
            is_confirmed(certificate, present)
            and not is_confirmed(certificate, known)
            and not self._source.certificates_complete(request.interface, request.nbma_address)
        )

    def _present(self, request: BindingRequest) -> frozenset[IkePeer] | None:
        return self._source.peers_at(request.interface, request.nbma_address)

    def _proven(self, request: BindingRequest) -> tuple[Certificate, ...]:
        return self._source.certificates_at(request.interface, request.nbma_address)
