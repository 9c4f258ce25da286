"""Who authenticated in an IKE_SA, and whether a certificate proves that identity."""

from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from dmvpn_agent.x509.certificate import Certificate, Label
from dmvpn_agent.x509.peer_label import read_label


@dataclass(frozen=True, slots=True)
class IkePeer:
    """Who authenticated in an IKE_SA, as charon says.

    ``identity`` is as charon prints it. ``has_certificate``: its connection authenticates by public key, and not by
    pre-shared key. ``unproven``: it is by neither (EAP, several methods), or not known: such an identity proves
    nothing.
    """

    identity: str
    has_certificate: bool
    label: Label | None = dataclass_field(default=None, compare=False)
    unproven: bool = False


def is_confirmed(certificate: Certificate, present: Collection[IkePeer]) -> bool:
    """Tell whether one of those who have an IKE_SA proved this certificate."""
    proven = [one.identity for one in present if is_proven(one)]
    if any(proves(certificate, identity) for identity in proven):
        return True
    # There is nobody to mistake the peer for.
    return len(proven) == len(present) == 1 and _unprintable(certificate, proven[0])


def is_proven(ike_peer: IkePeer) -> bool:
    """Tell whether somebody proved its identity by a certificate."""
    return ike_peer.has_certificate and not ike_peer.unproven


def proves(certificate: Certificate, printed: str) -> bool:
    """Tell whether a certificate proves an IKE identity that charon printed.

    charon prints what the peer sent. In a name or mail address its case does not count; in parts of a subject it does
    (``rdn_equals``), and there it is taken to count in all.
    """
    if printed in certificate.identities:
        return True
    if "=" in printed:
        return False
    return printed.lower() in [known.lower() for known in certificate.identities if len(known) == len(printed)]


def _unprintable(certificate: Certificate, printed: str) -> bool:
    """Tell whether this may be the name of a subject that we cannot print as charon does."""
    return "=" in printed and not any("=" in identity for identity in certificate.identities)


def ike_peer(identity: str, *, has_certificate: bool, unproven: bool = False) -> IkePeer:
    """Return who has an IKE_SA, by its identity as charon prints it."""
    return IkePeer(identity, has_certificate, read_label(identity), unproven)
