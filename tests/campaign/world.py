"""A world: a node's configuration, who is out there with which certificates, and what happens, step by step."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from campaign.pki import Authority, Crl, Holder

PUBKEY, PSK, EAP = "public key", "pre-shared key", "EAP"


@dataclass(frozen=True)
class Sa:
    """An IKE_SA: ``holder`` is whose key the peer truly proved, ``None`` where it proved none.

    ``late``: seconds until the bridge says which certificate it has.
    """

    number: int
    connection: str
    nbma: str
    port: int
    identity: str
    holder: Holder | None = field(hash=False, default=None)
    late: float = 0.0


@dataclass(frozen=True)
class Up:
    """An IKE_SA comes up; ``sent`` are certificates that the peer sends along, proven or not."""

    sa: Sa
    sent: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Down:
    """An IKE_SA goes."""

    number: int


@dataclass(frozen=True)
class Ask:
    """nhrpd asks. ``stale``: the certificate of a former peer at this NBMA address is shown."""

    interface: str
    kind: str
    address: str
    nbma: str
    stale: Holder | None = field(hash=False, default=None)


@dataclass(frozen=True)
class Crls:
    """The CRL files are now these."""

    crls: tuple[Crl, ...] = field(hash=False)


@dataclass(frozen=True)
class Later:
    """Time passes."""

    seconds: int


@dataclass(frozen=True)
class Reload:
    """Another policy is put in force."""

    policy: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Restart:
    """The agent is restarted with what it stored."""


Step = Up | Down | Ask | Crls | Later | Reload | Restart


@dataclass
class World:
    """What the node is and what happens to it. ``authorities`` are the files of ``ca_certificates``.

    ``beside``: a CA that charon alone trusts; ``names_authorities``: the connections take certificates of
    ``authorities`` only (``cacerts``).
    """

    seed: int
    patched: bool
    role: str
    interfaces: dict[str, str]
    connections: dict[str, tuple[str, ...]]
    own_addresses: dict[str, str]
    policy: dict[str, Any]
    bgp: dict[str, Any] | None
    authorities: list[Authority]
    intermediates: list[Authority]
    crls: tuple[Crl, ...]
    cached: list[bytes]
    now: datetime
    steps: list[Step]
    holders: list[Holder] = field(default_factory=list)
    beside: Authority | None = None
    names_authorities: bool = False

    def takes(self, holder: Holder, now: datetime) -> bool:
        """Tell whether charon takes a certificate of the CA that it alone trusts."""
        of_it = self.beside is not None and holder.issuer is self.beside and not self.names_authorities
        return of_it and holder.start <= now <= holder.end
