"""Decides on binding requests: by certificate and policy, by what charon shows, and by what other peers hold."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.admission.sa_lookup import SaLookup
from dmvpn_agent.policy.conflict_rules import Holders, decide_conflicts, no_holders
from dmvpn_agent.policy.decision import Decision, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.x509.trust import Trust

#: Failures of answering are counted under this name.
ADMISSION = "admission"

_FAILED = Deny(Reason.INTERNAL_ERROR, "decision", "an exception", "a decision; see the log")
_NO_TRUST = Deny(Reason.INTERNAL_ERROR, "policy.crls", "not read yet", "the CAs and CRLs; see the log")


class Decider:
    """The policy, CAs and CRLs in force. Every exception becomes a denial (``internal_error``).

    ``own_addresses`` returns the protocol addresses of this node.
    """

    def __init__(
        self,
        policy: Policy,
        peers: Peers,
        clocks: Clocks,
        sas: SaLookup,
        failures: Failures,
        own_addresses: Callable[[], frozenset[Address]] = frozenset,
    ) -> None:
        self._judge = Judge(policy, Trust())
        self._peers = peers
        self._clocks = clocks
        self._sas = sas
        self._failures = failures
        self._own_addresses = own_addresses
        self.waits_for_trust = False

    @property
    def basis(self) -> object:
        """Return what decisions rest on besides peers, IKE_SAs and the time; equal while it is the same."""
        return self._judge, self._own_addresses()

    def use_policy(self, policy: Policy) -> None:
        """Put another policy in force."""
        self._judge = Judge(policy, self._judge.trust)

    def use_trust(self, trust: Trust) -> None:
        """Put other CAs and CRLs in force."""
        self._judge = Judge(self._judge.policy, trust)
        self.waits_for_trust = False

    def deny_until_trust(self) -> None:
        """Deny every request until ``use_trust``: without CRLs no revoked certificate is recognized."""
        self.waits_for_trust = True

    def must_ask_charon(self, request: BindingRequest) -> bool:
        """Tell whether charon must be asked before nhrpd is answered. Never raises."""
        with self._failures.contained(ADMISSION):
            return self._sas.must_ask(request, self._judge.policy)
        return False

    async def ask_charon(self, request: BindingRequest) -> bool:
        """Read charon's IKE_SAs again, for one request; return whether charon answered. Never raises."""
        return await self._sas.ask(request, self._judge.policy)

    async def refresh_certificates(self) -> None:
        """Read the certificates of IKE_SAs that were not known at the last read. Never raises."""
        await self._sas.refresh_certificates()

    def decide_new(self, request: BindingRequest, *, sas_are_recent: bool) -> tuple[BindingRequest, Decision]:
        """Decide on nhrpd's request; return it as completed by charon's IKE_SAs.

        ``sas_are_recent``: charon was asked if ``must_ask_charon``, and answered.
        """
        if not sas_are_recent and self._sas.may_be_anothers(request):
            return self._decide(replace(request, ike_peers=frozenset()), _unchanged, self._holders)
        return self._decide(request, self._sas.complete, self._holders)

    def decide_unknown(self, request: BindingRequest) -> tuple[BindingRequest, Decision] | None:
        """Decide on a binding of nhrpd's whose peer is not known; ``None`` until charon's IKE_SAs identify it."""
        if self.waits_for_trust:
            return None
        completed = self._sas.complete(request)
        if self._sas.is_insufficient(completed, self._judge.policy):
            return None
        return self._decide(completed, _unchanged, self._holders)

    def decide_stored(self, request: BindingRequest) -> Decision:
        """Decide on a stored peer by itself; conflicts between stored peers are decided when all are loaded."""
        return self._decide(request, self._sas.complete_accepted, no_holders)[1]

    def decide_accepted(self, request: BindingRequest) -> Decision:
        """Decide again on an accepted peer: what it holds already is no conflict, what it would gain may be."""
        return self._decide(request, self._sas.complete_accepted, self._holders_of_gained)[1]

    def authorized_peer(self, request: BindingRequest) -> Peer | None:
        """Return the peer that a denied request is by; ``None`` if the policy gives it nothing. Never raises."""
        with self._failures.contained(ADMISSION):
            return self._judge.authorized_peer(request, self._clocks.now())
        return None

    def accepted_until(self, request: BindingRequest) -> datetime | None:
        """Return until when the clock alone cannot deny an accepted peer; ``None`` if unknown. Never raises."""
        with self._failures.contained(ADMISSION):
            return self._judge.accepted_until(self._sas.complete_accepted(request))
        return None

    def decide_denied(self, request: BindingRequest) -> tuple[BindingRequest, Decision]:
        """Decide again on a denied request; return it as completed by charon's IKE_SAs."""
        return self._decide(request, self._sas.complete_earlier, self._holders)

    def with_current_certificate(self, request: BindingRequest) -> BindingRequest:
        """Return a request with the certificate that its peer's IKE_SA has now. Never raises."""
        try:
            return self._sas.with_current_certificate(request)
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="the peer is judged by its earlier certificate")
            return request

    def _decide(
        self, request: BindingRequest, complete: Callable[[BindingRequest], BindingRequest], holders: Holders
    ) -> tuple[BindingRequest, Decision]:
        try:
            request = complete(request)
            return request, self._decide_completed(request, holders)
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="denied")
            return request, _FAILED

    def _decide_completed(self, request: BindingRequest, holders: Holders) -> Decision:
        if self.waits_for_trust:
            return _NO_TRUST
        own = request.local_addresses | self._own_addresses()
        decision = self._judge.decide(replace(request, local_addresses=own), self._clocks.now())
        if isinstance(decision, Deny):
            return decision

        def at_nbma_address(peer: Peer) -> tuple[Peer, ...]:
            return self._peers.earlier_at_nbma_address(peer, request.ike_peers or (), self._clocks.uptime())

        return decide_conflicts(decision, self._judge.policy, holders, at_nbma_address)

    def _holders(self, peer: Peer) -> tuple[Peer, ...]:
        return self._peers.conflicting(peer, self._clocks.uptime())

    def _holders_of_gained(self, peer: Peer) -> tuple[Peer, ...]:
        return self._peers.gained_conflicts(peer, self._clocks.uptime())


def _unchanged(request: BindingRequest) -> BindingRequest:
    return request
