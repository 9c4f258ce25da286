"""What the operator's CAs and CRLs say, as values: chains, revocation lists, and who finds them."""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from dmvpn_agent.x509.certificate import Certificate

#: How far a CA's clock may be ahead of this node's: a list may be in force here before it is issued there.
CRL_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A CRL whose signature was verified; ``serials`` are revoked. Times are aware, UTC.

    ``counts_until``: until when it shows that a certificate that it does not name is not revoked; ``None`` where it
    never does: it has no nextUpdate, or its signer may not sign CRLs. It revokes at any time. ``signed_by_issuer``:
    the key that signed the certificates signed the list too, and not another of the same name.
    """

    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    serials: Set[int]
    counts_until: datetime | None = None
    signed_by_issuer: bool = True

    def is_current(self, now: datetime) -> bool:
        """Tell whether a certificate that the list does not name is known not to be revoked."""
        return self.counts_until is not None and self.this_update <= now + CRL_SKEW and now <= self.counts_until


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate in a chain; ``revocations`` are the CRLs that speak about the certificates it issued.

    ``key`` tells its public key from every other, also from that of another CA of its name; empty if not known.
    """

    certificate: Certificate
    revocations: tuple[RevocationList, ...] = ()
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """The CA certificates above a certificate, nearest first; the last is the trust anchor.

    Every signature was verified, and every CA may issue what is below it; time, CRLs and resources are not looked at.
    ``self_signed``: the trust anchor issued itself, so that its CRL may revoke it too.
    """

    issuers: tuple[Issuer, ...]
    self_signed: bool = False

    @property
    def key(self) -> str:
        """Return what is different for every other chain."""
        return " ".join([issuer.certificate.fingerprint for issuer in self.issuers])


@dataclass(frozen=True, slots=True)
class Chains:
    """All chains of a certificate; where there is none, ``why`` says why not, for people."""

    found: tuple[Chain, ...] = ()
    why: str = ""


class ChainFinder(Protocol):
    """Finds out who issued a certificate."""

    def chains(self, certificate: Certificate) -> Chains:
        """Return the chains from a certificate to the operator's CAs."""


class NoAuthorities:
    """Finds no chains: there are no CA certificates to find any to."""

    def chains(self, _: Certificate) -> Chains:
        """Return no chain."""
        return Chains(why="there are no CA certificates")


@dataclass(frozen=True, slots=True)
class Trust:
    """What the operator's CA files and CRLs say: CA certificates, CRLs that they signed, and how chains are found.

    ``asks_for_chains``: a certificate must come from one of the CAs, also while none of them can be read; otherwise
    there is no CA certificate, and charon's word counts.
    """

    authorities: tuple[Certificate, ...] = ()
    revocations: tuple[RevocationList, ...] = ()
    finder: ChainFinder = field(default_factory=NoAuthorities, compare=False, repr=False)
    requires_chain: bool = False
