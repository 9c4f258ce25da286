"""Answers nhrpd: decides at once, and leaves what follows from the decision for after the answer.

Whatever decisions rest on may change later: the policy, a CRL, the time, who is behind an NBMA address. Then every
peer is judged again, and everybody who was denied.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.decision_record import Audit, DecisionRecord, word
from dmvpn_agent.admission.denial_table import Denial, DenialTable
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.admission.peers import Membership, Peers, Revoked
from dmvpn_agent.admission.sa_lookup import SaLookup, SaSource
from dmvpn_agent.policy.conflict_rules import nbma_conflict
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.judge import Judge, no_holders
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.trust import Trust

log = structlog.get_logger()

REMEMBERED_DECISIONS = 1000
#: What failures of answering are counted as.
ADMISSION = "admission"
#: Seconds between two judgements of everybody, for what only time changes.
REJUDGE_INTERVAL = 10.0
#: Seconds after charon showed other IKE_SAs until everybody is: time for the bridge to find their certificates.
REJUDGE_AFTER_SAS = 0.7


class Authorizer:
    """The decisions of this node.

    ``own`` returns the protocol addresses of this node. ``changed`` is called when who is accepted, or as what, has
    changed; ``revoked`` for each peer that was accepted and is not any more. ``denied`` remembers who was not.
    """

    def __init__(
        self,
        policy: Policy,
        peers: Peers,
        telemetry: Telemetry,
        clocks: Clocks,
        changed: Callable[[], None],
        witness: SaSource | None = None,
        revoked: Callable[[Revoked], None] = lambda _: None,
        failures: Failures | None = None,
        own: Callable[[], frozenset[Address]] = frozenset,
    ) -> None:
        self._judge = Judge(policy, Trust())
        self._failures = failures or Failures(telemetry, ADMISSION)
        self._waits_for_trust = False
        self._peers = peers
        self._telemetry = telemetry
        self._clocks = clocks
        self._changed = changed
        self._testimony = SaLookup(witness) if witness else None
        self._revoked = revoked
        self._own = own
        self.records: deque[DecisionRecord] = deque(maxlen=REMEMBERED_DECISIONS)
        self.denials = DenialTable()
        self._audit = Audit()
        self._due = DebouncedEvent()

    def deny_until_trust(self) -> None:
        """Deny everybody until ``trust`` is called: until then nobody knows who is revoked. Stored peers wait too."""
        self._waits_for_trust = True

    def start(self, trust: Trust) -> None:
        """Take up the peers accepted before the restart, each judged again."""
        self._judge = Judge(self._judge.policy, trust)
        with self._failures.contained("store"):
            for gone in self._peers.load(self._decide_stored, self._clocks.uptime()):
                self.denials.add(gone.request, gone.why)
                self._revoked(gone)

    async def consider(self, event: AuthorizeBinding | BadEvent) -> DecisionRecord:
        """Decide on one event; where the decision needs charon's word, ask it first. Never raises."""
        looked = True
        if self.must_ask(event) and self._testimony is not None and isinstance(event, AuthorizeBinding):
            looked = await self._testimony.ask(event.request, self._judge.policy)
        return self.decide(event, looked=looked)

    def must_ask(self, event: AuthorizeBinding | BadEvent) -> bool:
        """Tell whether the answer has to wait for charon's. Never raises."""
        if self._testimony is None or not isinstance(event, AuthorizeBinding):
            return False
        with self._failures.contained(ADMISSION):
            return self._testimony.must_look(event.request, self._judge.policy)
        return False

    def decide(self, event: AuthorizeBinding | BadEvent, *, looked: bool = True) -> DecisionRecord:
        """Decide on one event by what is known now. Never raises: what goes wrong here denies.

        ``looked``: whether charon answered where it had to be asked.
        """
        started = self._clocks.uptime()
        request = None
        decision: Decision
        if isinstance(event, BadEvent):
            decision = Deny(Reason.MALFORMED_EVENT, "event", event.why, "an authorize-binding event of nhrpd")
        else:
            request, decision = self._decide_now(event.request, looked=looked)
        self._count(decision)
        if request is not None and isinstance(request.certificate, Certificate) and request.certificate.lookalikes:
            self._telemetry.increment(metrics.OVERLOOKED_CLAIMS, by=len(request.certificate.lookalikes))
        spent = (self._clocks.uptime() - started).total_seconds()
        self._telemetry.increment(metrics.DECISION_SECONDS, by=spent)
        return DecisionRecord(self._clocks.now(), request, decision)

    def settle(self, judgement: DecisionRecord) -> None:
        """Do what follows from a decision; to be called once its answer is on the way. Never raises."""
        with self._failures.contained(ADMISSION):
            self._settle(judgement)

    def _settle(self, judgement: DecisionRecord) -> None:
        self.records.append(judgement)
        self._audit.log(judgement)
        request, decision = judgement.request, judgement.decision
        if request is None:
            return
        if isinstance(decision, Deny):
            self.denials.add(request, decision)
        else:
            self.denials.remove(request)
            self._telemetry.increment(metrics.PEER_DEPARTURES, "taken_over", by=len(decision.replaces))
        if self._peers.apply_decision(request, decision, self._clocks.uptime()):
            self._changed()

    def judge_unknown(self, bindings: Iterable[BindingRequest]) -> None:
        """Judge whom nhrpd has bound and nobody here knows, as soon as charon tells who that is.

        nhrpd asked about them when they came; what was stored of them is lost.
        """
        for asked in bindings:
            with self._failures.contained(ADMISSION):
                self._judge_unknown(asked)

    def _judge_unknown(self, asked: BindingRequest) -> None:
        if self._testimony is None or self._waits_for_trust or asked in self.denials:
            return
        request = self._testimony.complete(asked)
        if self._testimony.is_lacking(request, self._judge.policy):
            return
        decision = self._decide(request, self._conflicting)
        if isinstance(decision, Deny) or decision.peer is not None:
            log.info("binding_taken_up", protocol_address=str(request.protocol_address),
                     nbma_address=str(request.nbma_address))  # fmt: skip
            if isinstance(decision, Deny):
                self._peers.mark_judged(request.protocol_address)
                self._changed()
            self._settle(DecisionRecord(self._clocks.now(), request, decision))

    def reload(self, policy: Policy) -> None:
        """Put a new policy in force, and have everybody judged by it at once."""
        self._judge = Judge(policy, self._judge.trust)
        self._due.set(urgent=True)

    def trust(self, trust: Trust) -> None:
        """Put other CAs and CRLs in force, and have everybody judged by them at once.

        The first ones are what ``start`` waits for.
        """
        if self._waits_for_trust:
            self._waits_for_trust = False
            self.start(trust)
            self._changed()  # they may be read late, and what FRR holds of revoked peers must go
            return
        self._judge = Judge(self._judge.policy, trust)
        self._due.set(urgent=True)

    async def run(self) -> None:
        """Judge everybody again from time to time, until cancelled: certificates expire, peers change places."""
        while True:
            await self._due.wait(within=REJUDGE_INTERVAL, then=REJUDGE_AFTER_SAS)
            await self.rejudge()

    def sas_changed(self) -> None:
        """Note that charon has other IKE_SAs than before: they may be others', or by other certificates."""
        self._due.set()

    async def rejudge(self) -> None:
        """Judge every peer again, and everybody who was denied; nhrpd is answered between one and the next.

        Each is judged by what is in force at its turn. What changes meanwhile asks for another pass.
        """
        if self._testimony is not None:
            await self._testimony.refresh_certificates()
        async for member in in_slices(self._peers.memberships()):
            with self._failures.contained(ADMISSION):
                self._rejudge_peer(member)
        async for denial in in_slices(self.denials):
            with self._failures.contained(ADMISSION):
                self._rejudge_denied(denial)

    def _rejudge_peer(self, member: Membership) -> None:
        outcome = self._peers.rejudge(member, self._decide_again, self._refreshed)
        if isinstance(outcome, Revoked):
            request = outcome.request
            self._telemetry.increment(metrics.PEER_DEPARTURES, outcome.why.reason)
            log.warning("peer_revoked", protocol_address=str(request.protocol_address),
                        nbma_address=str(request.nbma_address), subject=outcome.subject,
                        why=str(outcome.why))  # fmt: skip
            self.denials.add(outcome.request, outcome.why)
            self._revoked(outcome)
        if outcome:
            self._changed()

    def _rejudge_denied(self, denial: Denial) -> None:
        if not self.denials.is_latest(denial):  # it was accepted meanwhile, or denied anew
            return
        request = self._testimony.complete_former(denial.request) if self._testimony else denial.request
        if isinstance(self._decide(request, self._conflicting), Accept):
            self.denials.readmit(request)
            log.info("peer_acceptable_again", protocol_address=str(request.protocol_address),
                     nbma_address=str(request.nbma_address), was=str(denial.why))  # fmt: skip

    def _decide_stored(self, request: BindingRequest) -> Decision:
        """Decide on a stored peer alone; who of several has a prefix is decided when all are known."""
        return self._decide_former(request, no_holders)

    def _decide_again(self, request: BindingRequest) -> Decision:
        """Decide on a peer anew: in nobody's way by what it holds already, but by what it would gain."""
        return self._decide_former(request, lambda peer: self._peers.gained_conflicts(peer, self._clocks.uptime()))

    def _decide_former(self, request: BindingRequest, holders: Callable[[Peer], tuple[Peer, ...]]) -> Decision:
        """Decide on a question that was accepted before. An internal error denies it: it must not keep a peer in."""
        try:
            again = self._testimony.complete_again(request) if self._testimony else request
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="the peer is denied")
            return _failed()
        return self._decide(again, holders)

    def _decide_now(self, asked: BindingRequest, *, looked: bool) -> tuple[BindingRequest, Decision]:
        try:
            request = self._completed(asked, looked=looked)
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="the peer is denied")
            return asked, _failed()
        return request, self._decide(request, self._conflicting)

    def _decide(self, request: BindingRequest, holders: Callable[[Peer], tuple[Peer, ...]]) -> Decision:
        if self._waits_for_trust:
            return Deny(Reason.INTERNAL_ERROR, "policy.crls", "not read yet", "the CAs and CRLs; see the log")
        try:
            own = request.local_addresses | self._own()
            decision = self._judge.decide(replace(request, local_addresses=own), self._clocks.now(), holders)
            if isinstance(decision, Accept) and (peer := decision.peer or decision.behind) is not None:
                there = self._peers.earlier_at_nbma_address(peer, request.ike_peers or (), self._clocks.uptime())
                return nbma_conflict(peer, there[0]) if there else decision
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="the peer is denied")
            return _failed()
        return decision

    def _conflicting(self, peer: Peer) -> tuple[Peer, ...]:
        return self._peers.conflicting(peer, self._clocks.uptime())

    def _completed(self, request: BindingRequest, *, looked: bool) -> BindingRequest:
        if self._testimony is None:
            return request
        if not looked and request.certificate is None:
            return replace(request, ike_peers=frozenset())  # who was there at an earlier look need not be who asks
        return self._testimony.complete(request)

    def _refreshed(self, request: BindingRequest) -> BindingRequest:
        try:
            return self._testimony.refresh(request) if self._testimony else request
        except Exception as error:
            self._failures.note(ADMISSION, error, consequence="the peer is judged by its former certificate")
            return request

    def _count(self, decision: Decision) -> None:
        reason = "" if isinstance(decision, Accept) else decision.reason
        self._telemetry.increment(metrics.DECISIONS, word(decision), reason)
        if isinstance(decision, Accept) and decision.replaces:
            self._telemetry.increment(metrics.CONFLICTS, "taken_over")
        elif reason in CONFLICTS:
            self._telemetry.increment(metrics.CONFLICTS, "denied")


def _failed() -> Deny:
    return Deny(Reason.INTERNAL_ERROR, "decision", "an exception", "a decision; see the log")
