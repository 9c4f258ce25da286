"""Which certificate a question is to be judged by, where nhrpd shows none, or one that was renewed since."""

from collections.abc import Collection
from dataclasses import replace

from dmvpn_agent.charon.ike_peer import proves
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.x509.certificate import Certificate


def with_sa_certificate(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return a question that came without certificate with the peer's; ``proven`` are those at its NBMA address.

    It is that of the only peer there, who may have several names. Where somebody else has an IKE_SA too, either
    may ask: also for the other's address, and for that of one who is dead and not given up by charon yet.
    """
    if request.certificate is not None or len({one.identity for one in proven}) != 1:
        return request
    present = request.ike_peers or frozenset()
    if len(present) > 1 and not all(any(proves(one, peer.identity) for one in proven) for peer in present):
        return request
    return replace(request, certificate=max(proven, key=lambda one: one.not_before))


def with_current_certificate(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return a question that was answered with the certificate that its peer has now, if that is another one.

    The former one must not be in use any more. An earlier one counts too: it may be the one that is revoked.
    """
    former = request.certificate
    if not isinstance(former, Certificate) or not is_superseded(former, proven):
        return request
    same = [one for one in proven if one.identity == former.identity]
    return replace(request, certificate=max(same, key=lambda one: one.not_before))


def is_superseded(certificate: Certificate, proven: Collection[Certificate]) -> bool:
    """Tell whether a peer proved other certificates only than this one of its own."""
    same = [one.fingerprint for one in proven if one.identity == certificate.identity]
    return bool(same) and certificate.fingerprint not in same
