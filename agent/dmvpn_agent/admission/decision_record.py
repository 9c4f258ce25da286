"""Decisions as they are remembered, logged, and shown by ``status``."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import structlog

from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: Seconds between two log lines about a peer whose denial does not change.
REPEAT_INTERVAL = 600.0
#: Bindings whose last denial is remembered for that.
REMEMBERED_DENIALS = 4000


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision and its time (aware, UTC); ``request`` is ``None`` if the event could not be read."""

    time: datetime
    request: BindingRequest | None
    decision: Decision


def word(decision: Decision) -> str:
    """Return ``accept`` or ``deny``."""
    return "accept" if isinstance(decision, Accept) else "deny"


def describe(record: DecisionRecord) -> dict[str, object]:
    """Return a decision as JSON values, without its time."""
    shown: dict[str, object] = {"decision": word(record.decision)}
    if isinstance(record.decision, Deny):
        shown |= record.decision.as_json()
    elif record.decision.replaces:
        shown["replaces"] = [str(peer.protocol_address) for peer in record.decision.replaces]
    if (request := record.request) is not None:
        shown |= {
            "protocol_address": str(request.protocol_address),
            "nbma_address": str(request.nbma_address),
            "interface": request.interface,
            "binding_type": str(request.binding_type),
        }
        if isinstance(request.certificate, Certificate):
            shown["subject"] = request.certificate.subject
        elif request.ike_peers:
            shown["ike_identities"] = sorted(ike_peer.identity for ike_peer in request.ike_peers)
    return shown


class DecisionLog:
    """Logs decisions: each accept as information, each denial as a warning.

    A denied peer registers again and again. Its denial is logged when it is new or differs from the last one, then at
    most once in ``REPEAT_INTERVAL``, with ``repeats``: the number of denials in between.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._denials: OrderedDict[tuple[str, ...], Trouble] = OrderedDict()

    def write(self, record: DecisionRecord) -> None:
        """Log a decision, unless it repeats one."""
        decision, key = record.decision, _binding(record.request)
        if isinstance(decision, Accept):
            self._denials.pop(key, None)
            log.info("binding_decided", **describe(record))
            return
        denial = self._denials.setdefault(key, Trouble(REPEAT_INTERVAL, self._clock))
        if not denial.is_new(decision):
            return
        log.warning("binding_decided", **describe(record), **{"repeats": denial.repeats} if denial.repeats else {})
        self._denials.move_to_end(key)
        if len(self._denials) > REMEMBERED_DENIALS:
            self._denials.popitem(last=False)


def _binding(request: BindingRequest | None) -> tuple[str, ...]:
    if request is None:
        return ()
    return request.interface, str(request.protocol_address), str(request.nbma_address)
