"""Answers nhrpd: decides at once, and leaves what follows from the decision for after the answer."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Accept, BindingRequest, Certificate, Decision, Deny, Reason
from dmvpn_agent.core.policy import Policy, decide
from dmvpn_agent.service.peers import Peers
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.nhrp_event import AuthorizeBinding, BadEvent

log = structlog.get_logger()

REMEMBERED_DECISIONS = 1000


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and when it was made; ``request`` is ``None`` where the event could not be read."""

    time: datetime
    request: BindingRequest | None
    decision: Decision


class Authorizer:
    """The decisions of this node. ``changed`` is called when who is accepted, or as what, has changed."""

    def __init__(
        self,
        policy: Policy,
        peers: Peers,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._peers = peers
        self._telemetry = telemetry
        self._clock = clock
        self._changed = changed
        self.judgements: deque[Judgement] = deque(maxlen=REMEMBERED_DECISIONS)

    def start(self) -> None:
        """Take up the peers accepted before the restart, each judged again."""
        self._peers.load(self._judge, self._clock())

    def decide(self, event: AuthorizeBinding | BadEvent) -> Judgement:
        """Decide on one event. Never raises: what goes wrong here denies."""
        started = self._clock()
        request = event.request if isinstance(event, AuthorizeBinding) else None
        decision: Decision
        if isinstance(event, BadEvent):
            decision = Deny(Reason.MALFORMED_EVENT, "event", event.why, "an authorize-binding event of nhrpd")
        else:
            decision = self._judge(event.request)
        reason = "" if isinstance(decision, Accept) else decision.reason
        self._telemetry.increment(metrics.DECISIONS, _word(decision), reason)
        spent = (self._clock() - started).total_seconds()
        self._telemetry.increment(metrics.DECISION_SECONDS, by=max(spent, 0))  # the system's clock may be set back
        return Judgement(started, request, decision)

    def settle(self, judgement: Judgement) -> None:
        """Do what follows from a decision; to be called once its answer is on the way."""
        self.judgements.append(judgement)
        _audit(judgement)
        request = judgement.request
        if request is not None and self._peers.settle(request, judgement.decision, judgement.time):
            self._changed()

    def reload(self, policy: Policy) -> None:
        """Put a new policy in force, and judge every peer by it."""
        self._policy = policy
        for peer in self._peers.rejudge(self._judge):
            self._telemetry.increment(metrics.PEER_DEPARTURES, "policy")
            log.warning("peer_revoked", protocol_address=str(peer.protocol_address), subject=peer.subject)
        self._changed()

    def _judge(self, request: BindingRequest) -> Decision:
        try:
            return decide(request, self._policy, self._clock())
        except Exception:
            log.exception("decision_failed")
            return Deny(Reason.INTERNAL_ERROR, "decision", "an exception", "a decision; see the log")


def _word(decision: Decision) -> str:
    return "accept" if isinstance(decision, Accept) else "deny"


def describe(judgement: Judgement) -> dict[str, object]:
    """Return a decision as the log and ``status`` show it."""
    shown: dict[str, object] = {"decision": _word(judgement.decision)}
    if isinstance(judgement.decision, Deny):
        deny = judgement.decision
        shown |= {"reason": str(deny.reason), "field": deny.field, "found": deny.found, "expected": deny.expected}
    if (request := judgement.request) is not None:
        shown |= {
            "protocol_address": str(request.protocol_address),
            "nbma_address": str(request.nbma_address),
            "interface": request.interface,
            "binding_type": str(request.binding_type),
        }
        if isinstance(request.certificate, Certificate):
            shown["subject"] = request.certificate.subject
    return shown


def _audit(judgement: Judgement) -> None:
    accepted = isinstance(judgement.decision, Accept)
    (log.info if accepted else log.warning)("binding_decided", **describe(judgement))
