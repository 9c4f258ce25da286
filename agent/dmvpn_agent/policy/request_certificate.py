"""The certificate by which a request is judged, if nhrpd sent none or the peer has renewed it.

``proven`` is always the certificates with which peers authenticated in IKE_SAs at the request's NBMA address.
"""

from collections.abc import Collection
from dataclasses import replace

from dmvpn_agent.charon.ike_peer import proves
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.x509.certificate import Certificate


def with_sa_certificate(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return a request that has no certificate with the one of the only peer at its NBMA address.

    That peer may have several names. If another peer has an IKE_SA too, the request stays as it is: either may ask,
    also for the other's address or for that of a dead peer whose IKE_SA charon has not given up yet.
    """
    if request.certificate is not None or len({one.identity for one in proven}) != 1:
        return request
    present = request.ike_peers or frozenset()
    if len(present) > 1 and not all(any(proves(one, peer.identity) for one in proven) for peer in present):
        return request
    return replace(request, certificate=max(proven, key=lambda one: one.not_before))


def with_current_certificate(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return an earlier request with the certificate that its peer uses now, if it no longer uses the former one.

    The current one may be older than the former: it may be the one that is revoked.
    """
    former = request.certificate
    if not isinstance(former, Certificate) or not is_superseded(former, proven):
        return request
    same = [one for one in proven if one.identity == former.identity]
    return replace(request, certificate=max(same, key=lambda one: one.not_before))


def is_superseded(certificate: Certificate, proven: Collection[Certificate]) -> bool:
    """Tell whether the certificate's peer authenticated, and only with other certificates of its own."""
    same = [one.fingerprint for one in proven if one.identity == certificate.identity]
    return bool(same) and certificate.fingerprint not in same
