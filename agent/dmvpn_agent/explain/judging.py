"""A certificate judged: for the address that is asked for, or for each that it names."""

from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address, ip_address

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.charon.ike_peer import ike_peer
from dmvpn_agent.explain.certificate_input import CertificateInput
from dmvpn_agent.explain.context import JudgingContext
from dmvpn_agent.policy.claims_report import PROTOCOL_ADDRESS, ReportedClaim, report_claims
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import ADDRESS_REASONS, Explanation
from dmvpn_agent.policy.request import BindingRequest, BindingType

#: Stands for an address that was not given: nothing is bound to it.
UNSPECIFIED = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; ``None`` where the operator left it open."""

    at: datetime
    address: Address | None = None
    nbma_address: Address | None = None
    interface: str | None = None
    binding_type: BindingType = BindingType.DYNAMIC
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One binding judged. ``vtysh``: what would follow on an FRR with nothing of ours; empty without BGP."""

    request: BindingRequest
    explanation: Explanation
    vtysh: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Tell whether the binding would be accepted."""
        return isinstance(self.explanation.decision, Accept)


@dataclass(frozen=True, slots=True)
class Report:
    """All that there is to say. ``address_known`` is false where no address was asked for and none is named."""

    shown: CertificateInput
    question: Question
    named: tuple[ReportedClaim, ...]
    answers: tuple[Answer, ...]
    address_known: bool
    context: JudgingContext

    @property
    def accepted(self) -> bool:
        """Tell whether all that was judged would be accepted."""
        return all(answer.accepted for answer in self.answers)


def explain(shown: CertificateInput, question: Question, context: JudgingContext) -> Report:
    """Judge a certificate for the address that is asked for, or for each that it names."""
    request = _request(shown, question, context)
    judge = context.judge
    named = report_claims(request, judge.policy, judge.trust, question.at)
    addresses = [question.address] if question.address else _addresses(named)
    answers = [_answer(replace(request, protocol_address=address), question.at, context) for address in addresses]
    if not answers:
        answers = [_without_address(request, question.at, context)]
    return Report(shown, question, named, tuple(answers), bool(addresses), context)


def _request(shown: CertificateInput, question: Question, context: JudgingContext) -> BindingRequest:
    has_certificate = shown.certificate is not None
    peer = ike_peer(question.identity, has_certificate=has_certificate) if question.identity else None
    return BindingRequest(
        interface=question.interface or context.config.interfaces[0],
        binding_type=question.binding_type,
        protocol_address=question.address or UNSPECIFIED,
        nbma_address=question.nbma_address or UNSPECIFIED,
        certificate=shown.certificate,
        ike_peers=frozenset({peer}) if peer else None,
    )


def _addresses(named: tuple[ReportedClaim, ...]) -> list[Address]:
    values = [one.value for one in named if one.kind == PROTOCOL_ADDRESS and one.counts and one.value is not None]
    return [ip_address(str(value)) for value in dict.fromkeys(values)]


def _answer(request: BindingRequest, at: datetime, context: JudgingContext) -> Answer:
    explanation = context.judge.explain(request, at)
    return Answer(request, explanation, _vtysh(explanation, context))


def _without_address(request: BindingRequest, at: datetime, context: JudgingContext) -> Answer:
    """Return what can be said of a certificate that names no address: it is denied for that or before."""
    explanation = context.judge.explain(request, at)
    checks = tuple(check for check in explanation.checks if check.reason not in ADDRESS_REASONS)
    return Answer(request, replace(explanation, checks=checks), ())


def _vtysh(explanation: Explanation, context: JudgingContext) -> tuple[str, ...]:
    decision, bgp = explanation.decision, context.config.bgp
    if bgp is None or not isinstance(decision, Accept) or decision.peer is None:
        return ()
    return tuple(render(plan(desired([decision.peer], bgp), Observed()).changes, bgp.as_number))
