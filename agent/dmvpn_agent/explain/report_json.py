"""An explanation as plain JSON values."""

from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.explain.judging import UNSPECIFIED, Answer, Report
from dmvpn_agent.explain.report_text import issuers_of, sentence
from dmvpn_agent.policy.advice import ADVICE
from dmvpn_agent.policy.claims_report import ReportedClaim
from dmvpn_agent.policy.decision import Accept, Decision
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.x509.certificate import BadCertificate, Certificate


def report_json(report: Report) -> dict[str, Any]:
    """Return the whole explanation."""
    question, certificate = report.question, report.given.certificate
    return {
        "accepted": report.accepted,
        "at": question.at.isoformat(),
        "read_from": report.given.read_from,
        "certificate": certificate_json(certificate),
        "resources": [_claim(one) for one in report.claims],
        "address_known": report.address_known,
        "bindings": [_answer(answer, report.context.config.bgp) for answer in report.answers],
        "trust": {
            "authorities": len(report.context.judge.trust.authorities),
            "issuer_known": bool(issuers_of(report)),
            "crls": len(report.context.judge.trust.crls),
            "problems": list(report.context.problems),
        },
    }


def certificate_json(certificate: Certificate | BadCertificate | None) -> dict[str, Any] | None:
    """Return the names and dates of a certificate."""
    if certificate is None:
        return None
    if isinstance(certificate, BadCertificate):
        return {"unreadable": certificate.why}
    return {
        "subject": certificate.subject,
        "subject_rfc4514": certificate.subject_rfc4514,
        "aliases": list(certificate.aliases),
        "issuer": certificate.issuer,
        "issuer_rfc4514": certificate.issuer_rfc4514,
        "serial": f"{certificate.serial:x}",
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "fingerprint": certificate.fingerprint,
        "identities": sorted(certificate.identities),
        "hub_hosts": list(certificate.hub_hosts),
    }


def _claim(one: ReportedClaim) -> dict[str, Any]:
    return {
        "source": str(one.source),
        "what": one.kind,
        "field": one.field,
        "text": one.text,
        "value": None if one.value is None else str(one.value),
        "counts": one.counts,
        "note": one.note,
    }


def _answer(answer: Answer, bgp: BgpSettings | None) -> dict[str, Any]:
    explanation, request = answer.explanation, answer.request
    failed = dict.fromkeys(check.reason for check in explanation.checks if not check.passed)
    return {
        "interface": request.interface,
        "type": str(request.binding_type),
        "protocol_address": _address(request.protocol_address),
        "nbma_address": _address(request.nbma_address),
        "ike_identities": sorted(ike_peer.identity for ike_peer in request.ike_peers or ()),
        "kind": None if explanation.kind is None else str(explanation.kind),
        "checks": [
            {
                "rule": str(check.reason),
                "passed": check.passed,
                "field": check.field,
                "found": check.found,
                "expected": check.expected,
            }
            for check in explanation.checks
        ],
        **decision_json(explanation.decision),
        "sentence": sentence(explanation.decision, bgp),
        "would_have_to_change": {str(reason): list(ADVICE[reason].remedies) for reason in failed},
        "vtysh": list(answer.vtysh),
    }


def _address(address: Address) -> str | None:
    return None if address == UNSPECIFIED else str(address)


def decision_json(decision: Decision) -> dict[str, Any]:
    """Return a decision, with the resources of an accepted peer."""
    if isinstance(decision, Accept):
        return {"decision": "accept", "peer": None if decision.peer is None else _peer(decision.peer)}
    return {"decision": "deny", **decision.as_json()}


def _peer(peer: Peer) -> dict[str, Any]:
    return {
        "kind": str(peer.kind),
        "label": str(peer.label) if peer.label else None,
        "as_number": peer.as_number,
        "prefixes": [str(prefix) for prefix in peer.prefixes],
        "max_prefix_length": {"ipv4": peer.max_prefix_length[0], "ipv6": peer.max_prefix_length[1]},
        "quarantined": peer.quarantined,
    }
