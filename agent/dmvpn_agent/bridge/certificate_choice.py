"""Which certificate of charon's cache an IKE_SA gets, and why.

charon does not say which certificate a peer authenticated with. Its cache holds that one, other certificates of the
peer, and certificates that somebody sent without having the private key. An IKE_SA gets a certificate if

1. its connection authenticates by public key (``charon.connections``). Otherwise a peer chooses its identity freely;
2. charon prints an identity of the certificate like the IKE_SA's remote identity (``certificate_index``);
3. a CA of the operator issued the certificate (``authority_files``);
4. the certificate is valid now, and was when the IKE_SA came up;
5. no other identity is printed like this one of the certificate;
6. all certificates that satisfy 2 to 4 are one peer's. Otherwise either peer could be the one;
7. of these certificates it is the least privileged (``least_privileged``). Otherwise a peer could gain resources by
   sending another of its certificates along.

If no certificate satisfies all of them, the IKE_SA gets none, and the agent denies the peer. ``Certificates`` applies
1 to 3, ``choose`` the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dmvpn_agent.bridge.certificate_index import Match
from dmvpn_agent.bridge.least_privileged import is_subset, least_privileged
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.ike_identity import MAX_PRINTED

#: charon gives the time at which an IKE_SA came up in whole seconds; the CA's clock can differ from this node's.
SKEW = timedelta(seconds=5)

REVOKE = "revoke the older one and run `swanctl --flush-certs`, and have the peer use the newer one only"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The certificate that an IKE_SA gets; ``wider``: valid ones of the same peer that entitle to more."""

    certificate: Certificate
    wider: tuple[Certificate, ...] = ()

    @property
    def renewable(self) -> bool:
        """Tell whether a newer certificate is among the wider ones: the peer should authenticate again."""
        return any(other.not_before > self.certificate.not_before for other in self.wider)


@dataclass(frozen=True, slots=True)
class NotFound:
    """Why an IKE_SA gets no certificate, and what the operator can do.

    ``renewable``: its peer has several, and authenticating again would tell which one it uses. ``perhaps_flushed``:
    the cache may have held it until the bridge flushed that.
    """

    why: str
    todo: str
    renewable: bool = False
    perhaps_flushed: bool = False


def choose(sa: IkeSa, matches: Sequence[Match], now: datetime) -> Chosen | NotFound:
    """Choose among the certificates that match an IKE_SA's remote identity and that a CA of the operator issued."""
    valid = [match for match in matches if _was_and_is_valid(match.certificate, sa.established_at, now)]
    if not any(match.certain for match in valid):
        return _nothing_proves(sa, matches)
    certificates = [match.certificate for match in valid]
    if len({certificate.identity for certificate in certificates}) > 1:
        return NotFound(
            f"certificates of two peers match it: {names(certificates)}", "give each peer a name of its own"
        )
    chosen = least_privileged(certificates)
    if chosen is None:
        why = f"neither of the peer's certificates entitles to less than the other: {names(certificates)}"
        return NotFound(why, REVOKE, renewable=True)
    if not any(match.certain for match in valid if match.certificate is chosen):
        return _printed_alike()
    return Chosen(chosen, tuple(other for other in certificates if not is_subset(other, chosen)))


def names(certificates: Sequence[Certificate]) -> str:
    """Return subjects and serial numbers for a log."""
    return " and ".join(sorted(f"{one.subject} ({one.serial:x})" for one in certificates))


def _was_and_is_valid(certificate: Certificate, established_at: datetime | None, now: datetime) -> bool:
    since = now if established_at is None else min(now, established_at + SKEW)
    return certificate.not_before <= since and now <= certificate.not_after


def _nothing_proves(sa: IkeSa, matches: Sequence[Match]) -> NotFound:
    if any(match.certain for match in matches):
        return NotFound(
            "the certificate that proves it is not valid now, or was not when the IKE_SA came up",
            "renew it, and check the clocks of the CA, of the peer and of this node",
            perhaps_flushed=True,
        )
    if matches or len(sa.remote_id) >= MAX_PRINTED:
        return _printed_alike()
    return NotFound(
        "charon has none that proves it and was issued by a CA in policy.ca_certificates",
        "the peer's IKE identity must be its certificate's subject or a subjectAltName of it",
        perhaps_flushed=True,
    )


def _printed_alike() -> NotFound:
    return NotFound(
        "charon prints other identities like this one (too long, not ASCII, or with a `*`)",
        "have the peer authenticate by a subjectAltName of its certificate (`id` in swanctl.conf)",
        perhaps_flushed=True,
    )
