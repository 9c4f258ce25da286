"""Applies decisions: who is accepted and who is denied, and who is told of it."""

from collections.abc import Callable

import structlog

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.decider import Decider
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peer_index import Membership
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class Outcomes:
    """The accepted peers and the latest denials, which only decisions change.

    ``changed`` is called when the accepted peers, or what they may do, have changed; ``revoked`` for each peer that
    was accepted and is denied now.
    """

    def __init__(
        self,
        peers: Peers,
        denials: DenialTable,
        telemetry: Telemetry,
        clocks: Clocks,
        changed: Callable[[], None],
        revoked: Callable[[Revoked], None] = lambda _: None,
    ) -> None:
        self.peers = peers
        self.denials = denials
        self._telemetry = telemetry
        self._clocks = clocks
        self._changed = changed
        self._revoked = revoked

    def apply(self, decided: DecisionRecord) -> None:
        """Apply a decision on a request of nhrpd."""
        request, decision = decided.request, decided.decision
        if request is None:
            return
        if isinstance(decision, Deny):
            self.denials.add(request, decision, decided.time)
        else:
            self.denials.remove(request)
            self._telemetry.increment(metrics.PEER_DEPARTURES, "taken_over", by=len(decision.replaces))
        if self.peers.apply_decision(request, decision, self._clocks.uptime()):
            self._changed()

    def apply_unknown(self, decided: DecisionRecord) -> None:
        """Apply a decision on a binding of nhrpd's whose peer is not known.

        FRR may still have a denied one's neighbor, even if its certificate does not name the protocol address.
        """
        if decided.request is not None and isinstance(decided.decision, Deny):
            self.peers.mark_judged(decided.request.protocol_address)
            self._changed()
        self.apply(decided)

    def load(self, decider: Decider) -> None:
        """Load the peers that were accepted before the restart, and judge each again."""
        for gone in self.peers.load(decider.decide_stored, self._clocks.uptime(), decider.authorized_peer):
            self._deny(gone)

    def loaded(self) -> None:
        """Report the loaded peers: FRR may have neighbors of those that are denied now."""
        self._changed()

    def rejudge_accepted(self, member: Membership, decider: Decider) -> None:
        """Judge an accepted peer again."""
        outcome = self.peers.rejudge(member, decider.decide_accepted, decider.with_current_certificate)
        if isinstance(outcome, Revoked):
            request = outcome.request
            self._telemetry.increment(metrics.PEER_DEPARTURES, outcome.why.reason)
            log.warning("peer_revoked", protocol_address=str(request.protocol_address),
                        nbma_address=str(request.nbma_address), subject=outcome.subject,
                        why=str(outcome.why))  # fmt: skip
            self._deny(outcome)
        if outcome:
            self._changed()
        else:
            member.accepted_until = decider.accepted_until(member.request)

    def rejudge_denied(self, denial: Denial, decider: Decider) -> None:
        """Judge a denied request again; a peer that is acceptable now must register again."""
        if not self.denials.is_latest(denial):  # accepted or denied again since the pass began
            return
        if denial.request.protocol_address in self.peers.denied:
            peer = decider.authorized_peer(denial.request)
            if peer and self.peers.denied.regroup(peer):
                self._changed()
        request, decision = decider.decide_denied(denial.request)
        if isinstance(decision, Accept):
            self.denials.readmit(request)
            log.info("peer_acceptable_again", protocol_address=str(request.protocol_address),
                     nbma_address=str(request.nbma_address), was=str(denial.why))  # fmt: skip

    def _deny(self, gone: Revoked) -> None:
        self.denials.add(gone.request, gone.why, self._clocks.now())
        self._revoked(gone)
