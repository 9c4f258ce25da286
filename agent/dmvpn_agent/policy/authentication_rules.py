"""Who asks, and when: the rules that a peer must pass before it matters what its certificate entitles to."""

from collections.abc import Iterator
from datetime import datetime

from dmvpn_agent.charon.ike_peer import is_confirmed, is_proven
from dmvpn_agent.policy.authorization_rules import CommaList, OrList, Rule
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Action, Maintenance, Policy, StaticPeer, matches
from dmvpn_agent.x509.certificate import BadCertificate, Certificate

#: What nhrpd binds because a peer asked or answered; the other types are its own bookkeeping.
PEER_BINDINGS = frozenset({BindingType.DYNAMIC, BindingType.CACHED, BindingType.NHS, BindingType.STATIC})


_BINDINGS = OrList(sorted(PEER_BINDINGS))


def static_peer_of(request: BindingRequest, policy: Policy) -> StaticPeer | None:
    """Return the row of the static table to judge a peer by, ``None`` where its certificate is to be judged.

    A row is for one kind of authentication: with ``overrides`` for peers whose certificate is shown, otherwise for
    peers with a pre-shared key. Whoever is let in by the one may choose an identity that is meant for the other.
    """
    if not policy.static_peers:
        return None
    if isinstance(request.certificate, Certificate):
        names = _names(request)
        return next((row for row in policy.static_peers if row.overrides and matches(row.identity, names)), None)
    if request.certificate is not None or request.ike_peers is None or len(request.ike_peers) != 1:
        return None  # unreadable, or not to be told apart: never guessed
    (ike_peer,) = request.ike_peers
    if ike_peer.has_certificate or ike_peer.unproven:
        return None
    rows = (row for row in policy.static_peers if not row.overrides)
    return next((row for row in rows if matches(row.identity, (ike_peer.identity,))), None)


def maintenance_of(request: BindingRequest, policy: Policy, action: Action) -> Maintenance | None:
    """Return the maintenance of this kind that is in force for a peer, in whatever case its name is written.

    charon takes a name or mail address for the same in any case, and a peer with a pre-shared key chooses which.
    """
    if not policy.maintenance:
        return None
    names = frozenset(name.casefold() for name in _all_names(request))
    serial = request.certificate.serial if isinstance(request.certificate, Certificate) else None
    for row in policy.maintenance:
        by_identity = row.identity is not None and matches(row.identity.casefold(), names)
        if row.action is action and (by_identity or (serial is not None and row.serial == serial)):
            return row
    return None


def authentication_rules(
    request: BindingRequest, row: StaticPeer | None, policy: Policy, chain_rules: tuple[Rule, ...], now: datetime
) -> Iterator[Rule]:
    """Yield the rules over who asks; ``row`` is the peer's in the static table, ``chain_rules`` a ``Verifier``'s."""
    yield Rule(Reason.UNKNOWN_INTERFACE, request.interface in policy.rules, "interface", request.interface,
               "", OrList(policy.rules))  # fmt: skip
    yield Rule(Reason.UNEXPECTED_BINDING_TYPE, request.binding_type in PEER_BINDINGS, "type",
               request.binding_type, "", _BINDINGS)  # fmt: skip
    certificate = request.certificate
    if certificate is None and row is None:
        expected = "the peer's certificate, from nhrpd or with its IKE_SA"
        yield Rule(Reason.NO_CERTIFICATE, False, "remote_cert", "empty", expected, _or_a_row(request))
        return
    if isinstance(certificate, BadCertificate):
        yield Rule(Reason.MALFORMED_CERTIFICATE, False, "remote_cert", certificate.why, "an X.509 certificate")
        return
    stopped = maintenance_of(request, policy, Action.DENY)
    yield Rule(Reason.DENIED_BY_MAINTENANCE, stopped is None, "maintenance", stopped or "none",
               "no [[policy.maintenance]] for this peer")  # fmt: skip
    if certificate is not None:
        yield from _validity(certificate, now)
        yield from chain_rules
        if policy.confirms_certificates and request.ike_peers is not None:
            yield _confirmation(certificate, request)


def _names(request: BindingRequest) -> frozenset[str]:
    """Return what a peer can be called by in a pattern of the operator: forms in which no name looks like another."""
    if isinstance(request.certificate, Certificate):
        # Only what the certificate proves: who else is behind the same NBMA address is another peer.
        return frozenset((*request.certificate.identities, request.certificate.subject_rfc4514))
    return frozenset(ike_peer.identity for ike_peer in request.ike_peers or ())


def _all_names(request: BindingRequest) -> frozenset[str]:
    """Return those and all other forms of a name, for what takes something away: there, too much is the safe side."""
    aliases = request.certificate.aliases if isinstance(request.certificate, Certificate) else ()
    return _names(request) | frozenset(aliases)


def _or_a_row(request: BindingRequest) -> str:
    known = " and ".join(sorted(repr(ike_peer.identity) for ike_peer in request.ike_peers or ()))
    return f", or one [[policy.peer]] for the IKE identity {known}" if known else ""


def _validity(certificate: Certificate, now: datetime) -> Iterator[Rule]:
    yield Rule(Reason.CERTIFICATE_NOT_YET_VALID, certificate.not_before <= now, "notBefore",
               certificate.not_before, "at or before ", now)  # fmt: skip
    yield Rule(Reason.CERTIFICATE_EXPIRED, now <= certificate.not_after, "notAfter",
               certificate.not_after, "at or after ", now)  # fmt: skip


def _confirmation(certificate: Certificate, request: BindingRequest) -> Rule:
    """Return whether the certificate is that of somebody who has an IKE_SA with the NBMA address.

    nhrpd keys a certificate by the pair of NBMA addresses: of two peers behind one, it may show the other's. Only who
    was authenticated by public key can confirm one: any other peer may have chosen the identity.
    """
    present = request.ike_peers or frozenset()
    confirmed = is_confirmed(certificate, present)
    proven = sorted(one.identity for one in present if is_proven(one))
    shown = OrList(proven or ("none is there",))
    nbma = "the NBMA address" if request.nbma_address.is_unspecified else request.nbma_address
    return Rule(Reason.CERTIFICATE_UNCONFIRMED, confirmed, "certificate", CommaList(sorted(certificate.identities)),
                f"an identity that has an IKE_SA by certificate with {nbma}: ", shown)  # fmt: skip
