"""Who authenticated in an IKE_SA, and whether a certificate proves that identity."""

from collections.abc import Collection
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from dmvpn_agent.x509.certificate import Certificate, Label
from dmvpn_agent.x509.ike_identity import may_print_as
from dmvpn_agent.x509.name import read_name
from dmvpn_agent.x509.peer_label import read_label


@dataclass(frozen=True, slots=True)
class IkePeer:
    """The peer of an IKE_SA.

    ``identity``: as charon prints it. ``has_certificate``: the connection does not authenticate by pre-shared key.
    ``unproven``: the method is neither public key nor pre-shared key (EAP, several methods), or not known; the
    identity then proves nothing. ``certificate``: the ``identity`` of the certificate that it proved; empty if that
    is not known. ``awaited``: it is the bridge that will know; until then the peer may have used another CA's
    certificate with this name, or another one of its own.
    """

    identity: str
    has_certificate: bool
    label: Label | None = dataclass_field(default=None, compare=False)
    unproven: bool = False
    certificate: str = ""
    awaited: bool = False


def is_confirmed(certificate: Certificate, present: Collection[IkePeer]) -> bool:
    """Tell whether the peer of one of the IKE_SAs ``present`` proved this certificate."""
    return any(not one.awaited for one in _namesakes(certificate, present))


def may_be_confirmed(certificate: Certificate, present: Collection[IkePeer]) -> bool:
    """Tell whether one did, or may have: it has the name, and the bridge does not know its certificate yet."""
    return bool(_namesakes(certificate, present))


def _namesakes(certificate: Certificate, present: Collection[IkePeer]) -> list[IkePeer]:
    """Return the peers that proved a certificate's identity, but for those that did by another certificate.

    A peer of another CA can have the same name: where the certificate of an IKE_SA is known, no other counts.
    """
    proven = [one for one in present if is_proven(one) and one.certificate in {"", certificate.identity}]
    if named := [one for one in proven if proves(certificate, one.identity)]:
        return named
    # The identity cannot be compared, but no other peer has an IKE_SA here.
    is_only = len(proven) == len(present) == 1 and may_be_unprintable_subject(certificate, proven[0].identity)
    return proven if is_only else []


def is_proven(ike_peer: IkePeer) -> bool:
    """Tell whether the peer proved its identity by a certificate."""
    return ike_peer.has_certificate and not ike_peer.unproven


def proves(certificate: Certificate, printed: str) -> bool:
    """Tell whether a certificate proves an IKE identity that charon printed.

    charon prints what the peer sent. It ignores case in a domain name or mail address. In a subject it ignores case
    in some attributes only (``rdn_equals``); here case counts in all of them.
    """
    if printed in certificate.identities:
        return True
    if "=" in printed:
        return False
    return printed.lower() in [known.lower() for known in certificate.identities if len(known) == len(printed)]


def may_be_unprintable_subject(certificate: Certificate, printed: str) -> bool:
    """Tell whether ``printed`` may be the certificate's subject, which the agent cannot print as charon does."""
    if "=" not in printed or any("=" in identity for identity in certificate.identities):
        return False
    return may_print_as(read_name(certificate.subject_name), printed)


def ike_peer(
    identity: str, *, has_certificate: bool, unproven: bool = False, certificate: str = "", awaited: bool = False
) -> IkePeer:
    """Return the peer of an IKE_SA, with the label that its identity names."""
    return IkePeer(identity, has_certificate, read_label(identity), unproven, certificate, awaited)
