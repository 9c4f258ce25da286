"""nhrpd's request for a binding, and the IKE_SA of the peer that asked."""

from dataclasses import dataclass, replace
from enum import StrEnum

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.ike_peer import IkePeer, may_be_unprintable_subject, proves
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.x509.certificate import BadCertificate, Certificate


class BindingType(StrEnum):
    """Types of NHRP cache entry, as nhrpd names them (``nhrp_cache_type_str``)."""

    INVALID = "invalid"
    INCOMPLETE = "incomplete"
    NEGATIVE = "negative"
    CACHED = "cached"
    DYNAMIC = "dynamic"
    NHS = "nhs"
    STATIC = "static"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """nhrpd's question: may this protocol address be bound to this NBMA address?

    ``certificate`` is ``None`` if nhrpd sent none (the peer authenticated without one, or nhrpd cannot hold it: 2048
    bytes and more) and charon has none for the IKE_SA. ``ike_peers``: the peers with an IKE_SA at the NBMA address in
    the interface's own connection; ``None`` if charon was not asked. ``local_nbma_address``: this node's end.
    ``local_addresses``: protocol addresses of this node.
    """

    interface: str
    binding_type: BindingType
    protocol_address: Address
    nbma_address: Address
    certificate: Certificate | BadCertificate | None
    ike_peers: frozenset[IkePeer] | None = None
    local_nbma_address: Address | None = None
    local_addresses: frozenset[Address] = frozenset()

    @property
    def pair(self) -> tuple[Address, Address]:
        """Return protocol and NBMA address."""
        return self.protocol_address, self.nbma_address

    @property
    def kept(self) -> "BindingRequest":
        """Return it without the octets of the certificate's subject, if charon's form of the subject is known.

        Otherwise ``may_be_unprintable_subject`` needs them.
        """
        certificate = self.certificate
        if not isinstance(certificate, Certificate) or not any("=" in one for one in certificate.identities):
            return self
        return replace(self, certificate=replace(certificate, subject_name=b""))


def is_requester(request: BindingRequest, ike_peer: IkePeer) -> bool:
    """Tell whether a peer with an IKE_SA is the peer that asked."""
    if isinstance(request.certificate, Certificate):
        return proves(request.certificate, ike_peer.identity)
    return ike_peer in (request.ike_peers or ())


def is_sa_of(sa: IkeSa, request: BindingRequest, present: tuple[IkeSa, ...]) -> bool:
    """Tell whether an IKE_SA belongs to the peer that asked.

    ``present`` are all IKE_SAs at its NBMA address in its interface's connection. If the request shows no identity,
    all of them must belong to one peer.
    """
    if sa.remote_host != request.nbma_address or sa not in present:
        return False
    certificate = request.certificate
    if isinstance(certificate, Certificate) and not may_be_unprintable_subject(certificate, sa.remote_id):
        return proves(certificate, sa.remote_id)
    if certificate is None and request.ike_peers:
        return any(ike_peer.identity == sa.remote_id for ike_peer in request.ike_peers)
    return all(other.remote_id == sa.remote_id for other in present)
