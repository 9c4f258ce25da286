"""A decision with what it was about, as it is remembered, logged and shown."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from dmvpn_agent.core.model import Accept, BindingRequest, Certificate, Decision, Deny

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and when it was made; ``request`` is ``None`` where the event could not be read."""

    time: datetime
    request: BindingRequest | None
    decision: Decision


def word(decision: Decision) -> str:
    """Return what a decision is called."""
    return "accept" if isinstance(decision, Accept) else "deny"


def describe(judgement: Judgement) -> dict[str, object]:
    """Return a decision as the log and ``status`` show it."""
    shown: dict[str, object] = {"decision": word(judgement.decision)}
    if isinstance(judgement.decision, Deny):
        deny = judgement.decision
        shown |= {"reason": str(deny.reason), "field": deny.field, "found": deny.found, "expected": deny.expected}
    elif judgement.decision.replaces:
        shown["replaces"] = [str(peer.protocol_address) for peer in judgement.decision.replaces]
    if (request := judgement.request) is not None:
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


def audit(judgement: Judgement) -> None:
    """Log it: an accept as information, a denial as a warning."""
    accepted = isinstance(judgement.decision, Accept)
    (log.info if accepted else log.warning)("binding_decided", **describe(judgement))
