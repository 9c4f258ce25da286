"""Security associations as charon lists them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from dmvpn_agent.addresses import Address

#: CHILD_SA states (strongSwan ``child_sa_state_names``) in which it carries traffic. A REKEYED one was replaced.
INSTALLED_STATES = frozenset({"INSTALLED", "UPDATING", "REKEYING"})
#: IKE_SA states (strongSwan ``ike_sa_state_names``) in which the peer is authenticated.
ESTABLISHED_STATES = frozenset({"ESTABLISHED", "REKEYING", "REKEYED"})
#: The IKE_SA state before the peers are authenticated.
CONNECTING = "CONNECTING"
#: IKE_SA states that only end in deletion. If the peer does not answer, the IKE_SA stays there until charon gives up.
ENDING_STATES = frozenset({"DELETING", "DESTROYING"})


class Authentication(StrEnum):
    """How charon authenticates the peers of a connection."""

    #: Every remote round is by public key: a certificate proved the identity that charon lists.
    PUBLIC_KEY = "public_key"
    #: Every remote round is by pre-shared key.
    PRE_SHARED_KEY = "pre_shared_key"
    #: By another method (EAP, XAuth), by several, by any that the peer chooses, or not known.
    OTHER = "other"


class Traffic(NamedTuple):
    """Traffic as the kernel counts it: bytes of the inner packets, and packets."""

    bytes_in: int = 0
    packets_in: int = 0
    bytes_out: int = 0
    packets_out: int = 0

    def plus(self, other: "Traffic") -> "Traffic":
        """Return the sum."""
        return Traffic(*(one + two for one, two in zip(self, other, strict=True)))


NO_TRAFFIC = Traffic()


@dataclass(frozen=True, slots=True)
class Algorithms:
    """The negotiated algorithms, by strongSwan's names with the key size after a hyphen (``AES_GCM_16-256``).

    Empty if there is none: AES-GCM needs no ``integrity``, a CHILD_SA no ``prf``, and one that was set up in IKE_AUTH
    no key exchange. ``key_exchanges``: several if they are combined (RFC 9370).
    """

    encryption: str = ""
    integrity: str = ""
    prf: str = ""
    key_exchanges: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return (name for name in (self.encryption, self.integrity, self.prf, *self.key_exchanges) if name)

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, slots=True)
class ChildSa:
    """A CHILD_SA; ``unique_id`` is charon's number for it, ``name`` its configuration's.

    ``spi_in`` and ``spi_out`` identify it permanently; they and all fields after them are empty until it is
    installed. ``last_in``, ``last_out``: when it was last used. Times are exact to a second.
    """

    unique_id: int
    name: str
    state: str
    mode: str = ""
    protocol: str = ""
    reqid: int = 0
    udp_encapsulated: bool = False
    spi_in: str = ""
    spi_out: str = ""
    algorithms: Algorithms = Algorithms()
    traffic: Traffic = NO_TRAFFIC
    last_in: datetime | None = None
    last_out: datetime | None = None
    installed_at: datetime | None = None
    rekey_due: datetime | None = None
    expires: datetime | None = None

    @property
    def installed(self) -> bool:
        """Tell whether traffic can use it."""
        return self.state in INSTALLED_STATES

    @property
    def spis(self) -> str:
        """Return an identifier that stays unique across restarts of charon; empty until it is installed."""
        return f"{self.spi_in}:{self.spi_out}" if self.spi_in else ""


@dataclass(frozen=True, slots=True)
class IkeSa:
    """An IKE_SA; ``name`` is its connection's, the identities are as charon prints them.

    The two SPIs identify it permanently; ``unique_id`` is charon's number, which restarts with charon. ``initiator``:
    this node initiated it, or its last rekeying. Times are set once it is established, exact to a second;
    ``rekey_due`` and ``reauth_due`` only if configured. ``remote_certificate``: the peer's, in DER, which only a
    charon with Alpine's patches lists.
    """

    unique_id: int
    name: str
    state: str
    local_host: Address
    remote_host: Address
    remote_port: int
    local_id: str
    remote_id: str
    initiator_spi: str
    responder_spi: str
    children: tuple[ChildSa, ...] = ()
    local_port: int = 0
    version: int = 2
    initiator: bool = False
    nat_local: bool = False
    nat_remote: bool = False
    algorithms: Algorithms = Algorithms()
    established_at: datetime | None = None
    rekey_due: datetime | None = None
    reauth_due: datetime | None = None
    remote_certificate: bytes = dataclass_field(default=b"", repr=False)

    @property
    def spis(self) -> str:
        """Return an identifier that stays unique across restarts of charon."""
        return f"{self.initiator_spi}:{self.responder_spi}"

    @property
    def established(self) -> bool:
        """Tell whether the peer is authenticated."""
        return self.state in ESTABLISHED_STATES

    @property
    def replacement_due(self) -> datetime | None:
        """Return when it is due to be rekeyed or reauthenticated, whichever comes first."""
        return min(filter(None, (self.rekey_due, self.reauth_due)), default=None)


#: An IKE_SA together with one of its CHILD_SAs.
Circuit = tuple[IkeSa, ChildSa]
#: Local and remote NBMA address, by which nhrpd identifies a virtual circuit, without ports.
Pair = tuple[Address, Address]


def circuits(sas: Iterable[IkeSa]) -> dict[int, Circuit]:
    """Return the circuits that carry traffic, by the CHILD_SA's unique id. An IKE_SA being deleted has none."""
    return {
        child.unique_id: (sa, child)
        for sa in sas
        if sa.state not in ENDING_STATES
        for child in sa.children
        if child.installed
    }


def addresses(sa: IkeSa) -> Pair:
    """Return the local and the remote NBMA address."""
    return sa.local_host, sa.remote_host


def same_circuit(one: Circuit, other: Circuit) -> bool:
    """Tell whether two circuits are equal for nhrpd: addresses, identities, IKE_SA and CHILD_SA."""
    if one[0] is other[0]:  # the usual case: this IKE_SA was not listed again
        return _child_identity(one[1]) == _child_identity(other[1])
    return _identity(*one) == _identity(*other)


def _identity(sa: IkeSa, child: ChildSa) -> tuple[object, ...]:
    return (sa.unique_id, sa.name, sa.spis, addresses(sa), sa.local_id, sa.remote_id, *_child_identity(child))


def _child_identity(child: ChildSa) -> tuple[object, ...]:
    return child.unique_id, child.name
