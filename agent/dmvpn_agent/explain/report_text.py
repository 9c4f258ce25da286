"""An explanation for people, also for those who see the program for the first time."""

from collections.abc import Iterator
from datetime import datetime

from dmvpn_agent.bgp.desired import neighbor_bindings
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.config.settings import Config
from dmvpn_agent.explain.filter_text import filter_summary
from dmvpn_agent.explain.judging import UNSPECIFIED, Answer, Report
from dmvpn_agent.explain.source_text import source_summary
from dmvpn_agent.policy.advice import ADVICE
from dmvpn_agent.policy.claims_report import ReportedClaim
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.trust import Issuer

#: Columns are padded to at most this width; longer text is printed in full.
WIDEST = 44

_KINDS = {
    PeerKind.HUB: "a hub",
    PeerKind.SPOKE: "a spoke",
    PeerKind.SHORTCUT: "another spoke (a shortcut)",
}


def report_text(report: Report) -> str:
    """Return the whole explanation."""
    lines = [*map(printable, _certificate(report)), "", *_claims(report.claims)]
    for answer in report.answers:
        lines += ["", *map(printable, _binding(answer, report))]
    if len(report.answers) > 1:
        accepted = sum(answer.accepted for answer in report.answers)
        lines += [
            "",
            f"{len(report.answers)} addresses: {accepted} accepted, {len(report.answers) - accepted} denied.",
            *_one_neighbor(report),
        ]
    lines += ["", *_unchecked(report)]
    return "\n".join(lines)


def _one_neighbor(report: Report) -> Iterator[str]:
    bgp = report.context.config.bgp
    decisions = [answer.explanation.decision for answer in report.answers]
    peers = [decision.peer for decision in decisions if isinstance(decision, Accept) and decision.peer is not None]
    found = neighbor_bindings(peers, bgp) if bgp else {}
    if len(found) > 1:
        binding = next(iter(found.values()))
        yield f"If all of them are bound at one NBMA address, the peer has one neighbor: {binding.protocol_address}."


def _certificate(report: Report) -> Iterator[str]:
    yield f"CERTIFICATE ({report.given.read_from})"
    match report.given.certificate:
        case None:
            yield "  none: the peer is judged by the IKE identity with which it authenticated" + (
                f", {report.question.identity}" if report.question.identity else "; give it with --identity"
            )
        case BadCertificate(why):
            yield f"  cannot be read: {why}"
        case Certificate() as certificate:
            yield f"  subject      {certificate.subject_rfc4514 or '(empty)'}"
            yield f"  as charon    {_as_charon(certificate) or '(empty)'}"
            yield f"  issuer       {certificate.issuer_rfc4514 or '(empty)'}"
            yield f"  serial       {certificate.serial:x}"
            yield f"  valid        from {_time(certificate.not_before)} to {_time(certificate.not_after)}"
            yield f"  fingerprint  {certificate.fingerprint} (SHA-256)"
            if certificate.hub_hosts:
                yield f"  hub hosts    {', '.join(certificate.hub_hosts)}"


def issuers_of(report: Report) -> tuple[Issuer, ...]:
    """Return the CA that issued the certificate, in each chain."""
    if not isinstance(report.given.certificate, Certificate):
        return ()
    chains = report.context.judge.trust.finder.chains(report.given.certificate).found
    return tuple(chain.issuers[0] for chain in chains)


def _as_charon(certificate: Certificate) -> str:
    """Return the subject as charon prints it; maintenance patterns match this form too."""
    printed = [text for text in (*certificate.identities, *certificate.aliases) if "=" in text]
    return next((text for text in printed if text != certificate.subject), certificate.subject)


def _claims(claims: tuple[ReportedClaim, ...]) -> Iterator[str]:
    yield "RESOURCES NAMED"
    if not claims:
        yield "  nothing"
        return
    rows = ((one.source, one.kind, one.field, one.text, _counts(one)) for one in claims)
    yield from _indented(table(("SOURCE", "WHAT", "FIELD", "AS WRITTEN", "COUNTS"), rows, WIDEST))


def _counts(one: ReportedClaim) -> str:
    if one.counts and one.value is not None:
        return "yes"
    word = "malformed" if one.value is None and one.text != "inherit" else "no"
    return f"{word}: {one.note.removeprefix('malformed: ')}"


def _binding(answer: Answer, report: Report) -> Iterator[str]:
    explanation, request = answer.explanation, answer.request
    if report.address_known:
        yield f"MAY {request.protocol_address} BE BOUND?"
    else:
        yield "MAY IT JOIN? No protocol address is named, and none was given with --address: judged without one"
    nbma = "not given" if request.nbma_address == UNSPECIFIED else str(request.nbma_address)
    yield (
        f"  request on {request.interface}, type {request.binding_type}, NBMA address {nbma},"
        f" at {_time(report.question.at)}"
    )
    if explanation.kind:
        yield f"  judged as {_KINDS[explanation.kind]}, by this {report.context.config.role}"
    yield "  All rules in their order, each with the reason with which it denies. The first that fails decides."
    yield ""
    rows = (
        ("pass" if check.passed else "FAIL", check.reason, check.field, check.found or '""', check.expected)
        for check in explanation.checks
    )
    yield from _indented(table(("", "DENIES AS", "FIELD", "FOUND", "EXPECTED"), rows, WIDEST))
    yield ""
    yield f"  {sentence(explanation.decision, report.context.config.bgp)}"
    yield from _consequences(answer, report.context.config)


def sentence(decision: Decision, bgp: BgpSettings | None) -> str:
    """Return a decision in one plain sentence; for an accepted peer with what its filter permits."""
    if isinstance(decision, Deny):
        because = ADVICE[decision.reason].because
        return (
            f"DENIED ({decision.reason}), because {because}:"
            f" {decision.field} is {decision.found}; expected {decision.expected}."
        )
    if decision.peer is None:
        return "ACCEPTED as a host behind the peer: the address is in one of its prefixes. The host becomes no peer."
    peer, filtered = decision.peer, filter_summary(decision.peer, bgp)
    number = f" with AS {peer.as_number}" if peer.as_number is not None else ""
    return f"ACCEPTED: {peer.protocol_address} is bound, and its peer is {_KINDS[peer.kind]}{number}; {filtered}."


def _consequences(answer: Answer, config: Config) -> Iterator[str]:
    if isinstance(answer.explanation.decision, Accept):
        if (peer := answer.explanation.decision.peer) is not None:
            yield f"  {source_summary(peer, config.source_filter)}"
        if answer.vtysh:
            yield ""
            yield "  If FRR has no configuration of the agent yet, the agent gives vtysh these lines:"
            yield from (f"    {line}" for line in answer.vtysh)
        return
    failed = dict.fromkeys(check.reason for check in answer.explanation.checks if not check.passed)
    remedies = {reason: ADVICE[reason].remedies for reason in failed if ADVICE[reason].remedies}
    if remedies:
        yield ""
        yield "  What would have to change; for each rule, one of the lines is enough:"
    for reason, texts in remedies.items():
        yield f"    {reason}"
        yield from (f"      {text}" for text in texts)


def _unchecked(report: Report) -> Iterator[str]:
    yield "Not checked here:"
    if isinstance(report.given.certificate, Certificate):
        trust = report.context.judge.trust
        if not trust.authorities:
            yield "  the signature: policy.ca_certificates names no CA; charon verifies it before nhrpd asks"
        if not any(issuer.crls for issuer in issuers_of(report)):
            yield "  revocation: no CRL of its issuer is known (policy.crls)"
        if report.context.config.policy.confirms_certificates and not report.question.identity:
            yield "  whether the peer authenticated with it: give its IKE identity with --identity"
    yield "  whether this node has the address: only the running agent knows, from nhrpd and the kernel"
    yield "  whether another live peer has the address or part of the prefixes: only the running agent knows"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())
