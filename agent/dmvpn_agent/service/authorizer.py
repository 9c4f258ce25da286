"""Answers nhrpd: decides at once, and leaves what follows from the decision for after the answer.

Whatever decisions rest on may change later: the policy, a CRL, the time, who is behind an NBMA address. Then every
peer is judged again, and everybody who was denied.
"""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.decision import Judge, beside, nobody
from dmvpn_agent.core.model import (
    CONFLICTS,
    Accept,
    BindingRequest,
    Decision,
    Deny,
    Peer,
    Reason,
)
from dmvpn_agent.core.policy import Policy, Trust
from dmvpn_agent.service.denied import Denied
from dmvpn_agent.service.judgement import Audit, Judgement, word
from dmvpn_agent.service.peers import Peers, Revoked
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.service.testimony import Testimony, Witness
from dmvpn_agent.service.trigger import Trigger
from dmvpn_agent.wire.nhrp_event import AuthorizeBinding, BadEvent

log = structlog.get_logger()

REMEMBERED_DECISIONS = 1000
#: Seconds between two judgements of everybody, for what only time changes.
REJUDGE_INTERVAL = 10.0
#: Seconds after charon showed other IKE_SAs until everybody is: time for the bridge to find their certificates.
REJUDGE_AFTER_SAS = 0.7


class Authorizer:
    """The decisions of this node.

    ``changed`` is called when who is accepted, or as what, has changed; ``revoked`` for each peer that was accepted
    and is not any more. ``denied`` remembers who was not.
    """

    def __init__(
        self,
        policy: Policy,
        peers: Peers,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        changed: Callable[[], None],
        witness: Witness | None = None,
        revoked: Callable[[Revoked], None] = lambda _: None,
    ) -> None:
        self._judge = Judge(policy, Trust())
        self._peers = peers
        self._telemetry = telemetry
        self._clock = clock
        self._changed = changed
        self._testimony = Testimony(witness) if witness else None
        self._revoked = revoked
        self.judgements: deque[Judgement] = deque(maxlen=REMEMBERED_DECISIONS)
        self.denied = Denied()
        self._audit = Audit()
        self._sas_changed = Trigger()

    def start(self, trust: Trust) -> None:
        """Take up the peers accepted before the restart, each judged again."""
        self._judge = Judge(self._judge.policy, trust)
        for request, why in self._peers.load(self._decide_again, self._clock()):
            self.denied.note(request, why)

    async def consider(self, event: AuthorizeBinding | BadEvent) -> Judgement:
        """Decide on one event; where the decision needs charon's word, ask it first. Never raises."""
        if self.must_ask(event) and self._testimony is not None and isinstance(event, AuthorizeBinding):
            await self._testimony.ask(event.request, self._judge.policy)
        return self.decide(event)

    def must_ask(self, event: AuthorizeBinding | BadEvent) -> bool:
        """Tell whether the answer has to wait for charon's."""
        if self._testimony is None or not isinstance(event, AuthorizeBinding):
            return False
        return self._testimony.is_lacking(event.request, self._judge.policy)

    def decide(self, event: AuthorizeBinding | BadEvent) -> Judgement:
        """Decide on one event by what is known now. Never raises: what goes wrong here denies."""
        started = self._clock()
        request = None
        decision: Decision
        if isinstance(event, BadEvent):
            decision = Deny(Reason.MALFORMED_EVENT, "event", event.why, "an authorize-binding event of nhrpd")
        else:
            request = self._completed(event.request)
            decision = self._decide(request, self._conflicting)
        self._count(decision)
        spent = (self._clock() - started).total_seconds()
        self._telemetry.increment(metrics.DECISION_SECONDS, by=max(spent, 0))  # the system's clock may be set back
        return Judgement(started, request, decision)

    def settle(self, judgement: Judgement) -> None:
        """Do what follows from a decision; to be called once its answer is on the way."""
        self.judgements.append(judgement)
        self._audit.log(judgement)
        request, decision = judgement.request, judgement.decision
        if request is None:
            return
        if isinstance(decision, Deny):
            self.denied.note(request, decision)
        else:
            self.denied.drop(request)
            self._telemetry.increment(metrics.PEER_DEPARTURES, "taken_over", by=len(decision.replaces))
        if self._peers.settle(request, decision, judgement.time):
            self._changed()

    def adopt(self, bindings: Iterable[BindingRequest]) -> None:
        """Judge whom nhrpd has bound and nobody here knows, as soon as charon tells who that is.

        nhrpd asked about them when they came; what was stored of them is lost.
        """
        for asked in bindings:
            if self._testimony is None or asked in self.denied:
                continue
            request = self._testimony.complete(asked)
            if self._testimony.is_lacking(request, self._judge.policy):
                continue
            decision = self._decide(request, self._conflicting)
            if isinstance(decision, Deny) or decision.peer is not None:
                log.info("binding_taken_up", protocol_address=str(request.protocol_address),
                         nbma_address=str(request.nbma_address))  # fmt: skip
                self.settle(Judgement(self._clock(), request, decision))

    def reload(self, policy: Policy) -> None:
        """Put a new policy in force, and judge everybody by it."""
        self._judge = Judge(policy, self._judge.trust)
        self.rejudge()

    def trust(self, trust: Trust) -> None:
        """Put other CAs and CRLs in force, and judge everybody by them."""
        self._judge = Judge(self._judge.policy, trust)
        self.rejudge()

    async def run(self) -> None:
        """Judge everybody again from time to time, until cancelled: certificates expire, peers change places."""
        while True:
            await self._sas_changed.wait(within=REJUDGE_INTERVAL, then=REJUDGE_AFTER_SAS)
            self.rejudge()

    def sas_changed(self) -> None:
        """Note that charon has other IKE_SAs than before: they may be others', or by other certificates."""
        self._sas_changed.set()

    def rejudge(self) -> None:
        """Judge every peer again, and everybody who was denied."""
        changed, revoked = self._peers.rejudge(self._decide_again, self._refreshed)
        for gone in revoked:
            self._telemetry.increment(metrics.PEER_DEPARTURES, gone.why.reason)
            peer = gone.peer
            log.warning("peer_revoked", protocol_address=str(peer.protocol_address),
                        nbma_address=str(peer.nbma_address), subject=peer.subject, why=str(gone.why))  # fmt: skip
            self.denied.note(gone.request, gone.why)
            self._revoked(gone)
        for denial in self.denied:
            request = self._completed(self._refreshed(denial.request))
            decision = self._decide(request, self._conflicting)
            if isinstance(decision, Accept):
                self.denied.readmit(request)
                log.info("peer_acceptable_again", protocol_address=str(request.protocol_address),
                         nbma_address=str(request.nbma_address), was=str(denial.why))  # fmt: skip
        if changed:
            self._changed()

    def _decide_again(self, request: BindingRequest) -> Decision:
        """Decide on what a peer already holds: it is in nobody's way."""
        return self._decide(self._testimony.complete_again(request) if self._testimony else request, nobody)

    def _decide(self, request: BindingRequest, holders: Callable[[Peer], tuple[Peer, ...]]) -> Decision:
        now = self._clock()
        try:
            decision = self._judge.decide(request, now, holders)
            if isinstance(decision, Accept) and decision.peer is not None:
                there = self._peers.beside(decision.peer, request.ike_peers, now)
                return beside(decision.peer, there[0]) if there else decision
        except Exception:
            log.exception("decision_failed")
            return Deny(Reason.INTERNAL_ERROR, "decision", "an exception", "a decision; see the log")
        return decision

    def _conflicting(self, peer: Peer) -> tuple[Peer, ...]:
        return self._peers.conflicting(peer, self._clock())

    def _completed(self, request: BindingRequest) -> BindingRequest:
        return self._testimony.complete(request) if self._testimony else request

    def _refreshed(self, request: BindingRequest) -> BindingRequest:
        return self._testimony.refresh(request) if self._testimony else request

    def _count(self, decision: Decision) -> None:
        reason = "" if isinstance(decision, Accept) else decision.reason
        self._telemetry.increment(metrics.DECISIONS, word(decision), reason)
        if isinstance(decision, Accept) and decision.replaces:
            self._telemetry.increment(metrics.CONFLICTS, "taken_over")
        elif reason in CONFLICTS:
            self._telemetry.increment(metrics.CONFLICTS, "denied")
