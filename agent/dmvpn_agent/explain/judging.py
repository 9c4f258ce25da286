"""A certificate judged for the given address, or for each address that it names."""

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
from dmvpn_agent.policy.judge import Explanation
from dmvpn_agent.policy.reasons import ADDRESS_REASONS
from dmvpn_agent.policy.request import BindingRequest, BindingType

#: In place of an address that was not given; no peer has it.
UNSPECIFIED = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Question:
    """What the operator asks; ``None`` for what was not given."""

    at: datetime
    address: Address | None = None
    nbma_address: Address | None = None
    interface: str | None = None
    binding_type: BindingType = BindingType.DYNAMIC
    identity: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One binding judged. ``vtysh``: the lines for an FRR without the agent's configuration; empty without BGP."""

    request: BindingRequest
    explanation: Explanation
    vtysh: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Tell whether the binding would be accepted."""
        return isinstance(self.explanation.decision, Accept)


@dataclass(frozen=True, slots=True)
class Report:
    """The whole explanation. ``address_known`` is false if no address was given and the certificate names none."""

    given: CertificateInput
    question: Question
    claims: tuple[ReportedClaim, ...]
    answers: tuple[Answer, ...]
    address_known: bool
    context: JudgingContext

    @property
    def accepted(self) -> bool:
        """Tell whether every binding would be accepted."""
        return all(answer.accepted for answer in self.answers)


def explain(given: CertificateInput, question: Question, context: JudgingContext) -> Report:
    """Judge a certificate for the given address, or for each address that it names."""
    request = _request(given, question, context)
    judge = context.judge
    claims = report_claims(request, judge.policy, judge.trust, question.at)
    addresses = [question.address] if question.address else _addresses(claims)
    answers = [_answer(replace(request, protocol_address=address), question.at, context) for address in addresses]
    if not answers:
        answers = [_without_address(request, question.at, context)]
    return Report(given, question, claims, tuple(answers), bool(addresses), context)


def _request(given: CertificateInput, question: Question, context: JudgingContext) -> BindingRequest:
    has_certificate = given.certificate is not None
    peer = ike_peer(question.identity, has_certificate=has_certificate) if question.identity else None
    return BindingRequest(
        interface=question.interface or context.config.interfaces[0],
        binding_type=question.binding_type,
        protocol_address=question.address or UNSPECIFIED,
        nbma_address=question.nbma_address or UNSPECIFIED,
        certificate=given.certificate,
        ike_peers=frozenset({peer}) if peer else None,
    )


def _addresses(claims: tuple[ReportedClaim, ...]) -> list[Address]:
    values = [one.value for one in claims if one.kind == PROTOCOL_ADDRESS and one.counts and one.value is not None]
    return [ip_address(str(value)) for value in dict.fromkeys(values)]


def _answer(request: BindingRequest, at: datetime, context: JudgingContext) -> Answer:
    explanation = context.judge.explain(request, at)
    return Answer(request, explanation, _vtysh(explanation, context))


def _without_address(request: BindingRequest, at: datetime, context: JudgingContext) -> Answer:
    """Return the answer for a certificate that names no address: this or an earlier rule denies it."""
    explanation = context.judge.explain(request, at)
    checks = tuple(check for check in explanation.checks if check.reason not in ADDRESS_REASONS)
    return Answer(request, replace(explanation, checks=checks), ())


def _vtysh(explanation: Explanation, context: JudgingContext) -> tuple[str, ...]:
    decision, bgp = explanation.decision, context.config.bgp
    if bgp is None or not isinstance(decision, Accept) or decision.peer is None:
        return ()
    return tuple(render(plan(desired([decision.peer], bgp), Observed()).changes, bgp.instance))
