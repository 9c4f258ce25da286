"""Which certificate a question is to be judged by, where nhrpd shows none, or one that was renewed since."""

from collections.abc import Collection
from dataclasses import replace

from dmvpn_agent.core.model import BindingRequest, Certificate


def with_certificate(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return a question that came without certificate with the peer's; ``proven`` are those at its NBMA address.

    Of several peers it is the one whose certificate names the protocol address, if it is just one: never a guess.
    """
    if request.certificate is not None or not proven:
        return request
    candidates = list(proven)
    if len(request.ike_peers or ()) != 1 or len({one.identity for one in proven}) != 1:
        candidates = [one for one in proven if _names(one, request)]
    if len({one.identity for one in candidates}) != 1:
        return request
    return replace(request, certificate=max(candidates, key=lambda one: one.not_before))


def renewed(request: BindingRequest, proven: Collection[Certificate]) -> BindingRequest:
    """Return a question that was answered with the certificate that its peer has now, if that is another one.

    The former one must not be in use any more. An earlier one counts too: it may be the one that is revoked.
    """
    former = request.certificate
    if not isinstance(former, Certificate) or not is_outdated(former, proven):
        return request
    same = [one for one in proven if one.identity == former.identity]
    return replace(request, certificate=max(same, key=lambda one: one.not_before))


def is_outdated(certificate: Certificate, proven: Collection[Certificate]) -> bool:
    """Tell whether a peer proved other certificates only than this one of its own."""
    same = [one.fingerprint for one in proven if one.identity == certificate.identity]
    return bool(same) and certificate.fingerprint not in same


def _names(certificate: Certificate, request: BindingRequest) -> bool:
    return any(
        claim.value == request.protocol_address
        for resources in certificate.resources.values()
        for claim in resources.protocol_addresses
    )
