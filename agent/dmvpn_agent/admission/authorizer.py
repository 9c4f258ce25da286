"""Answers nhrpd's ``authorize-binding``: decides, replies, and then applies what follows from the decision."""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.decision_record import DecisionLog, DecisionRecord, word
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

REMEMBERED_DECISIONS = 1000

#: Sends an answer under an event's number, True for accept; returns False if the connection is closed.
Reply = Callable[[int, bool], bool]
#: Asks charon and then answers.
Later = Callable[[], Coroutine[Any, Any, None]]


class Authorizer:
    """Decides on nhrpd's requests. No answer waits for FRR, nftables or a disk.

    ``record`` is called with each message and its decision. ``records`` are the latest decisions.
    """

    def __init__(
        self,
        decider: Decider,
        outcomes: Outcomes,
        telemetry: Telemetry,
        clocks: Clocks,
        failures: Failures,
        record: Callable[[bytes, DecisionRecord], None] = lambda *_: None,
    ) -> None:
        self._decider = decider
        self._outcomes = outcomes
        self._telemetry = telemetry
        self._clocks = clocks
        self._failures = failures
        self._record = record
        self.records: deque[DecisionRecord] = deque(maxlen=REMEMBERED_DECISIONS)
        self._log = DecisionLog()

    def handle(self, event: AuthorizeBinding | BadEvent, reply: Reply, *, may_wait: bool = False) -> Later | None:
        """Answer an event and apply what follows; raises only what ``reply`` raises.

        If charon must be asked first and the answer ``may_wait``, nothing is done: the function returned asks charon
        and then does all this. Without waiting, the decision is by the IKE_SAs last read.
        """
        asked_at = self._clocks.uptime()
        if isinstance(event, BadEvent) or not self._decider.must_ask_charon(event.request):
            self._answer(event, reply, asked_at, sas_are_recent=True)
        elif may_wait:
            return partial(self._ask_charon_and_answer, event, reply, asked_at)
        else:
            self._answer(event, reply, asked_at, sas_are_recent=False)
        return None

    async def _ask_charon_and_answer(self, event: AuthorizeBinding, reply: Reply, asked_at: timedelta) -> None:
        self._answer(event, reply, asked_at, sas_are_recent=await self._decider.ask_charon(event.request))

    def _answer(
        self, event: AuthorizeBinding | BadEvent, reply: Reply, asked_at: timedelta, *, sas_are_recent: bool
    ) -> None:
        # Nothing here awaits: the next decision, on whatever connection, must know of this one.
        decided = self._decide(event, sas_are_recent=sas_are_recent)
        took = (self._clocks.uptime() - asked_at).total_seconds()
        self._telemetry.record(metrics.DECISION_DURATION, took, word(decided.decision))
        if event.event_id is not None and not reply(event.event_id, isinstance(decided.decision, Accept)):
            return  # nhrpd forgets its requests with their connection
        with self._failures.contained(ADMISSION):
            self._note(decided)
            self._outcomes.apply(decided)
        with self._failures.contained(ADMISSION):
            self._record(event.message, decided)

    def _decide(self, event: AuthorizeBinding | BadEvent, *, sas_are_recent: bool) -> DecisionRecord:
        request: BindingRequest | None = None
        decision: Decision
        if isinstance(event, BadEvent):
            decision = Deny(Reason.MALFORMED_EVENT, "event", event.why, "an authorize-binding event of nhrpd")
        else:
            request, decision = self._decider.decide_new(event.request, sas_are_recent=sas_are_recent)
        self._count(request, decision)
        return DecisionRecord(self._clocks.now(), request, decision)

    def _note(self, decided: DecisionRecord) -> None:
        self.records.append(decided)
        self._log.write(decided)

    def judge_unknown(self, bindings: Iterable[BindingRequest]) -> None:
        """Judge the bindings in nhrpd's cache whose peers are not known, once charon's IKE_SAs identify them.

        nhrpd asked about them when they registered, and does not ask again; the agent's store was lost since.
        """
        for binding in bindings:
            with self._failures.contained(ADMISSION):
                self._judge_unknown(binding)

    def _judge_unknown(self, binding: BindingRequest) -> None:
        if binding in self._outcomes.denials:
            return
        decided = self._decider.decide_unknown(binding)
        if decided is None:
            return
        request, decision = decided
        if isinstance(decision, Accept) and decision.peer is None:
            return  # a host behind a peer
        log.info("binding_taken_up", protocol_address=str(request.protocol_address),
                 nbma_address=str(request.nbma_address))  # fmt: skip
        record = DecisionRecord(self._clocks.now(), request, decision)
        self._note(record)
        self._outcomes.apply_unknown(record)

    def _count(self, request: BindingRequest | None, decision: Decision) -> None:
        reason = "" if isinstance(decision, Accept) else decision.reason
        self._telemetry.increment(metrics.DECISIONS, word(decision), reason)
        if isinstance(decision, Accept) and decision.replaces:
            self._telemetry.increment(metrics.CONFLICTS, "taken_over")
        elif reason in CONFLICTS:
            self._telemetry.increment(metrics.CONFLICTS, "denied")
        if request is not None and isinstance(request.certificate, Certificate) and request.certificate.lookalikes:
            self._telemetry.increment(metrics.OVERLOOKED_CLAIMS, by=len(request.certificate.lookalikes))
