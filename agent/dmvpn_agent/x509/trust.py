"""What the operator's CAs and CRLs say, as values: chains and verified CRLs."""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from dmvpn_agent.x509.certificate import Certificate

#: How far a CA's clock may be ahead of this node's: a CRL may arrive here before its thisUpdate.
CRL_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class VerifiedCrl:
    """A CRL whose signature was verified; ``serials`` are revoked, however old the CRL is. Times are aware, UTC.

    ``current_until``: until then the CRL shows that other certificates are not revoked; ``None`` if it never does: it
    has no nextUpdate, or its signer may not sign CRLs. ``signed_by_issuer``: the issuer's own key signed the CRL, and
    not another key of the same name.
    """

    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    serials: Set[int]
    current_until: datetime | None = None
    signed_by_issuer: bool = True

    def is_current(self, now: datetime) -> bool:
        """Tell whether the CRL shows now that certificates it does not name are not revoked."""
        return self.current_until is not None and self.this_update <= now + CRL_SKEW and now <= self.current_until


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA certificate in a chain; ``crls`` apply to the certificates it issued.

    ``key`` identifies its public key, also among CAs with the same name; empty if unknown.
    """

    certificate: Certificate
    crls: tuple[VerifiedCrl, ...] = ()
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Chain:
    """The CA certificates above a certificate, nearest first; the last is the trust anchor.

    Every signature was verified, and every CA may issue what is below it. Times, CRLs and resources are not checked.
    ``self_signed``: the trust anchor issued itself, so its CRL may revoke it too.
    """

    issuers: tuple[Issuer, ...]
    self_signed: bool = False

    @property
    def key(self) -> str:
        """Return a text that identifies the chain."""
        return " ".join([issuer.certificate.fingerprint for issuer in self.issuers])


@dataclass(frozen=True, slots=True)
class Chains:
    """All chains of a certificate; if there is none, ``why`` says why, for people."""

    found: tuple[Chain, ...] = ()
    why: str = ""


class ChainFinder(Protocol):
    """Finds the chains of a certificate."""

    def chains(self, certificate: Certificate) -> Chains:
        """Return the chains from a certificate to the operator's CAs."""


class NoAuthorities:
    """Finds no chains, because there are no CA certificates."""

    def chains(self, _: Certificate) -> Chains:
        """Return no chain."""
        return Chains(why="there are no CA certificates")


@dataclass(frozen=True, slots=True)
class Trust:
    """The CA certificates and CRLs in force, and a finder of chains.

    ``requires_chain``: a certificate needs a chain to one of the CAs, even while none of them can be read. Otherwise
    there is no CA certificate, and charon's verification counts.
    """

    authorities: tuple[Certificate, ...] = ()
    crls: tuple[VerifiedCrl, ...] = ()
    finder: ChainFinder = field(default_factory=NoAuthorities, compare=False, repr=False)
    requires_chain: bool = False
