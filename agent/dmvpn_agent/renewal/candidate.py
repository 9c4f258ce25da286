"""Whether a new certificate may take the place of the present one: as good for every peer as that one, or better."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address

from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.decision import Accept, Decision
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped, values
from dmvpn_agent.x509.trust import CRL_SKEW, Trust

#: nhrpd keeps no certificate of this length or more.
NHRPD_LIMIT = 2048
#: An address that no peer has (RFC 5737).
_ANYWHERE = IPv4Address("192.0.2.1")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a certificate is judged by: this node's own policy, CAs and CRLs, and the time."""

    policy: Policy
    trust: Trust
    now: datetime


def objections(new: Certificate | BadCertificate, present: Certificate, by: Judgement) -> Iterator[str]:
    """Yield why a certificate must not replace the present one, for an operator; nothing if it may."""
    if isinstance(new, BadCertificate):
        yield f"it cannot be read: {new.why}"
        return
    if new.subject_name != present.subject_name:
        yield (
            f"it is for {escaped(new.subject, 200)}, and this node is {escaped(present.subject, 200)}: IKE_SAs would"
            " not find it; run `dmvpn-agent setup` with the new certificate"
        )
    yield from _of_time(new, present, by.now)
    yield from _of_resources(new, present)
    if len(new.der) >= NHRPD_LIMIT > len(present.der):
        yield f"it has {len(new.der)} bytes, and nhrpd keeps none of {NHRPD_LIMIT} or more"
    if chains := by.trust.finder.chains(new):
        if not chains.found:
            yield f"it has no chain to a CA in policy.ca_certificates: {chains.why}"
        else:
            yield from _of_judge(new, present, by)


def readable(der: bytes) -> Certificate:
    """Read the present certificate. Raises ``ValueError``."""
    read = read_certificate(der)
    if isinstance(read, BadCertificate):
        raise ValueError(read.why)
    return read


def _of_time(new: Certificate, present: Certificate, now: datetime) -> Iterator[str]:
    if new.not_before > now + CRL_SKEW:
        yield f"it begins {new.not_before:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}: set the clock"
    if new.not_after <= now or new.not_after <= present.not_after:
        yield f"it ends {new.not_after:%Y-%m-%d %H:%M} UTC, not later than the present one"


def _of_resources(new: Certificate, present: Certificate) -> Iterator[str]:
    """Compare everything but the prefixes, which the CA may give and take."""
    for what, found, expected in zip(
        ("protocol addresses", "AS numbers", "roles"), _identity(new), _identity(present), strict=True
    ):
        if found != expected:
            yield f"its {what} are {_shown(found)}, and those of the present one {_shown(expected)}"


def _identity(certificate: Certificate) -> tuple[frozenset[object], ...]:
    named = certificate.resources.values()
    return (
        frozenset(one for resources in named for one in values(resources.protocol_addresses)),
        frozenset(one for resources in named for one in values(resources.as_numbers)),
        frozenset(one for resources in named for one in values(resources.roles)),
    )


def _shown(found: frozenset[object]) -> str:
    return ", ".join(sorted(map(str, found))) or "none"


def _of_judge(new: Certificate, present: Certificate, by: Judgement) -> Iterator[str]:
    """Yield the denials that the present certificate does not get.

    This node's policy is for peers. Where it denies nodes of this one's kind, as with ``policy.shortcut.allowed``, it
    denies the present certificate for the same reason.
    """
    judge = Judge(replace(by.policy, own_as_number=None, maintenance=()), by.trust)
    addresses = [address for resources in new.resources.values() for address in values(resources.protocol_addresses)]
    for interface in by.policy.rules:
        for address in dict.fromkeys(addresses):
            decision = judge.decide(_request(interface, address, new), by.now)
            if not isinstance(decision, Accept) and not _is_same(
                decision, judge.decide(_request(interface, address, present), by.now)
            ):
                yield f"this node's own policy denies it: {decision}"


def _request(interface: str, address: Address, certificate: Certificate) -> BindingRequest:
    return BindingRequest(interface, BindingType.DYNAMIC, address, _ANYWHERE, certificate)


def _is_same(decision: Decision, former: Decision) -> bool:
    return not isinstance(decision, Accept) and not isinstance(former, Accept) and decision.reason == former.reason
