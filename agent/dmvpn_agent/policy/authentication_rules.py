"""The rules about the peer itself: its question, its certificate and its IKE_SA.

They come before the rules about what the certificate entitles it to (``authorization_rules``).
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from dmvpn_agent.charon.ike_peer import IkePeer, is_confirmed, is_proven, may_be_confirmed
from dmvpn_agent.policy.check import Check, CommaList, OrList
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Action, Maintenance, Policy, StaticPeer, matches
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.name import folded_text

#: The types of binding that nhrpd makes for a peer's request or reply; the others are its own bookkeeping.
PEER_BINDINGS = frozenset({BindingType.DYNAMIC, BindingType.CACHED, BindingType.NHS, BindingType.STATIC})

_PEER_BINDINGS = OrList(sorted(PEER_BINDINGS))


def authentication_checks(
    request: BindingRequest, row: StaticPeer | None, policy: Policy, chain_checks: Iterable[Check], now: datetime
) -> Iterator[Check]:
    """Yield the checks in their order.

    ``row`` is the peer's row of the static table, ``chain_checks`` come from ``ChainValidator``. Without a readable
    certificate or a row the checks end early.
    """
    yield Check(Reason.UNKNOWN_INTERFACE, request.interface in policy.rules, "interface", request.interface,
                "a tunnel interface of the configuration: ", OrList(policy.rules))  # fmt: skip
    yield Check(Reason.UNEXPECTED_BINDING_TYPE, request.binding_type in PEER_BINDINGS, "type", request.binding_type,
                "a type that peers ask for: ", _PEER_BINDINGS)  # fmt: skip
    certificate = request.certificate
    if certificate is None and row is None:
        yield Check(Reason.NO_CERTIFICATE, False, "remote_cert", "empty",
                    "the peer's certificate, from nhrpd or from charon", _static_table_hint(request))  # fmt: skip
        return
    if isinstance(certificate, BadCertificate):
        yield Check(Reason.MALFORMED_CERTIFICATE, False, "remote_cert", certificate.why,
                    "a readable X.509 certificate")  # fmt: skip
        return
    denying = maintenance_of(request, policy, Action.DENY)
    yield Check(Reason.DENIED_BY_MAINTENANCE, denying is None, "maintenance", denying or "none",
                "no [[policy.maintenance]] that denies this peer")  # fmt: skip
    if certificate is not None:
        yield from _validity_checks(certificate, now)
        yield from chain_checks
        if policy.confirms_certificates and request.ike_peers is not None:
            yield from _confirmation_checks(certificate, request.ike_peers, request)


def static_peer_of(request: BindingRequest, policy: Policy) -> StaticPeer | None:
    """Return the row of the static table that decides about a peer, ``None`` if its certificate decides.

    A row is for one kind of authentication: with ``overrides`` for peers with a certificate, otherwise for peers with
    a pre-shared key. A peer that authenticates in one way may choose an identity that is meant for the other.
    """
    if not policy.static_peers:
        return None
    if isinstance(request.certificate, Certificate):
        names = _proven_names(request)
        return next((row for row in policy.static_peers if row.overrides and matches(row.identity, names)), None)
    if request.certificate is not None or request.ike_peers is None or len(request.ike_peers) != 1:
        return None  # an unreadable certificate, or several peers at the NBMA address: never guess
    (ike_peer,) = request.ike_peers
    if ike_peer.has_certificate or ike_peer.unproven:
        return None
    rows = (row for row in policy.static_peers if not row.overrides)
    return next((row for row in rows if matches(row.identity, (ike_peer.identity,))), None)


def maintenance_of(request: BindingRequest, policy: Policy, action: Action) -> Maintenance | None:
    """Return the maintenance with this action that is in force for a peer.

    A pattern matches the names that RFC 5280, section 7.1, calls the same: case, the amount of white space and the
    form of letters do not count. charon ignores case in names and mail addresses too, and a peer with a pre-shared
    key chooses the case it sends.
    """
    if not policy.maintenance:
        return None
    names = frozenset(form for name in _all_names(request) for form in _without_case(name))
    serial = request.certificate.serial if isinstance(request.certificate, Certificate) else None
    for row in policy.maintenance:
        by_identity = row.identity is not None and any(matches(form, names) for form in _without_case(row.identity))
        if row.action is action and (by_identity or (serial is not None and row.serial == serial)):
            return row
    return None


def _proven_names(request: BindingRequest) -> frozenset[str]:
    """Return the names of a peer that a pattern may match to grant something: no name in these forms is ambiguous."""
    if isinstance(request.certificate, Certificate):
        # Only what the certificate proves: another peer may be behind the same NBMA address.
        return frozenset((*request.certificate.identities, request.certificate.subject_rfc4514))
    return frozenset(ike_peer.identity for ike_peer in request.ike_peers or ())


def _all_names(request: BindingRequest) -> frozenset[str]:
    """Return those names and ambiguous forms too, for patterns that take something away: matching more is safe."""
    names = _proven_names(request)
    if isinstance(request.certificate, Certificate):
        names |= {*request.certificate.aliases, request.certificate.folded_subject} - {""}
    return names


def _without_case(text: str) -> tuple[str, str]:
    return text.casefold(), folded_text(text)


def _static_table_hint(request: BindingRequest) -> str:
    known = " and ".join(sorted(repr(ike_peer.identity) for ike_peer in request.ike_peers or ()))
    return f", or one [[policy.peer]] for the IKE identity {known}" if known else ""


def _validity_checks(certificate: Certificate, now: datetime) -> Iterator[Check]:
    yield Check(Reason.CERTIFICATE_NOT_YET_VALID, certificate.not_before <= now, "notBefore",
                certificate.not_before, "not later than the current time, ", now)  # fmt: skip
    yield Check(Reason.CERTIFICATE_EXPIRED, now <= certificate.not_after, "notAfter",
                certificate.not_after, "not earlier than the current time, ", now)  # fmt: skip


def _confirmation_checks(
    certificate: Certificate, present: frozenset[IkePeer], request: BindingRequest
) -> Iterator[Check]:
    """Yield whether a peer with an IKE_SA at the NBMA address (``present``) authenticated with the certificate.

    nhrpd stores a certificate by the pair of NBMA addresses: of two peers behind one address it may show the other's.
    Only an identity that authenticated by public key confirms: any other may have been chosen freely. The name alone
    confirms nothing: another CA that charon trusts may have issued a certificate with it, and an older certificate of
    the same peer, which is revoked now, has it too.
    """
    proven = sorted(one.identity for one in present if is_proven(one))
    nbma = "the NBMA address" if request.nbma_address.is_unspecified else request.nbma_address
    yield Check(Reason.CERTIFICATE_UNCONFIRMED, may_be_confirmed(certificate, present), "certificate",
                CommaList(sorted(certificate.identities)),
                f"an identity that authenticated by certificate in an IKE_SA with {nbma}: ",
                OrList(proven or ("there is none",)))  # fmt: skip
    yield Check(Reason.CERTIFICATE_AWAITED, is_confirmed(certificate, present), "certificate",
                f"not known of the IKE_SA with {nbma}",
                "the certificate by which its peer authenticated, from the bridge: does it run? The peer is judged"
                " again once it answers")  # fmt: skip
