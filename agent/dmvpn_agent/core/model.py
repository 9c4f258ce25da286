"""The values everything else speaks in.

They are immutable and already validated: whoever holds one need not check it again. Bytes and text from
outside become these values in ``wire``; ``core`` never sees a string that it would have to parse.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, Generic, NamedTuple, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
#: The kinds of protocol address there are; nhrpd keeps a table for each.
IP_VERSIONS = (4, 6)

T_co = TypeVar("T_co", covariant=True)


class Role(StrEnum):
    """What this node is in the DMVPN."""

    HUB = "hub"
    SPOKE = "spoke"


class BindingType(StrEnum):
    """Kinds of NHRP cache entry, in nhrpd's own words (``nhrp_cache_type_str``)."""

    INVALID = "invalid"
    INCOMPLETE = "incomplete"
    NEGATIVE = "negative"
    CACHED = "cached"
    DYNAMIC = "dynamic"
    NHS = "nhs"
    STATIC = "static"
    LOCAL = "local"


class PeerKind(StrEnum):
    """What a peer is to this node: each kind may have rules of its own."""

    #: A hub: by the role in its certificate, or because this node registers with it.
    HUB = "hub"
    #: A spoke, to a hub.
    SPOKE = "spoke"
    #: A spoke, to another spoke.
    SHORTCUT = "shortcut"


class Reason(StrEnum):
    """Why a binding is denied. The list is closed: it is also a metric's label."""

    MALFORMED_EVENT = "malformed_event"
    UNKNOWN_INTERFACE = "unknown_interface"
    UNEXPECTED_BINDING_TYPE = "unexpected_binding_type"
    NO_CERTIFICATE = "no_certificate"
    MALFORMED_CERTIFICATE = "malformed_certificate"
    DENIED_BY_MAINTENANCE = "denied_by_maintenance"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_EXPIRED = "certificate_expired"
    UNTRUSTED_ISSUER = "untrusted_issuer"
    ISSUER_NOT_VALID = "issuer_not_valid"
    CERTIFICATE_REVOKED = "certificate_revoked"
    ISSUER_REVOKED = "issuer_revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    RESOURCES_EXCEED_ISSUER = "resources_exceed_issuer"
    CERTIFICATE_UNCONFIRMED = "certificate_unconfirmed"
    ISSUER_NOT_ALLOWED = "issuer_not_allowed"
    SUBJECT_NOT_ALLOWED = "subject_not_allowed"
    SOURCES_DISAGREE = "sources_disagree"
    INHERITANCE_UNRESOLVED = "inheritance_unresolved"
    MALFORMED_ROLE = "malformed_role"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    NO_PROTOCOL_ADDRESS = "no_protocol_address"
    MALFORMED_PROTOCOL_ADDRESS = "malformed_protocol_address"
    TOO_MANY_PROTOCOL_ADDRESSES = "too_many_protocol_addresses"
    PROTOCOL_ADDRESS_MISMATCH = "protocol_address_mismatch"
    PROTOCOL_ADDRESS_OUTSIDE_TUNNEL = "protocol_address_outside_tunnel"
    PROTOCOL_ADDRESS_RESERVED = "protocol_address_reserved"
    PROTOCOL_ADDRESS_CONFLICT = "protocol_address_conflict"
    HOST_OUTSIDE_PREFIXES = "host_outside_prefixes"
    NO_AS_NUMBER = "no_as_number"
    SEVERAL_AS_NUMBERS = "several_as_numbers"
    MALFORMED_AS_NUMBER = "malformed_as_number"
    AS_NUMBER_RESERVED = "as_number_reserved"
    AS_NUMBER_NOT_ALLOWED = "as_number_not_allowed"
    IBGP_NOT_ALLOWED = "ibgp_not_allowed"
    MALFORMED_PREFIX = "malformed_prefix"
    TOO_MANY_PREFIXES = "too_many_prefixes"
    PREFIX_TOO_LONG = "prefix_too_long"
    PREFIX_FORBIDDEN = "prefix_forbidden"
    PREFIX_NOT_ALLOWED = "prefix_not_allowed"
    PREFIX_CONFLICT = "prefix_conflict"
    NBMA_ADDRESS_CONFLICT = "nbma_address_conflict"
    INTERNAL_ERROR = "internal_error"


#: The reasons that lie in what another live peer has.
CONFLICTS = frozenset({Reason.PROTOCOL_ADDRESS_CONFLICT, Reason.PREFIX_CONFLICT, Reason.NBMA_ADDRESS_CONFLICT})


#: The field of a prefix that an RFC 3779 extension names.
ADDRESS_BLOCKS = "IPAddrBlocks"


@dataclass(frozen=True, slots=True)
class Claim(Generic[T_co]):
    """One resource a certificate names: where it stands, as what, and its value.

    ``field`` is the place (``OU GRE``), ``text`` what is written there, shortened and with control characters
    escaped, for people only. ``value`` is ``None`` where the text is not what the field asks for.
    """

    field: str
    text: str
    value: T_co | None


class AsRange(NamedTuple):
    """AS numbers from ``low`` to ``high``, both included; most often one number."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


class Source(StrEnum):
    """Where resources are named."""

    #: OUs of the subject: ``GRE=``, ``AS=``, ``NET=`` (the Alpine guide), ``Hubs``.
    SUBJECT = "subject"
    #: subjectAltName: IP addresses are protocol addresses.
    SUBJECT_ALT_NAME = "subject_alt_name"
    #: RFC 3779 and RFC 8360: IPAddrBlocks are prefixes, ASIdentifiers are AS numbers.
    RFC3779 = "rfc3779"
    #: The private extensions of dmvpn-ca (1.3.6.1.4.1.31536.1): the role.
    DMVPN_CA = "dmvpn_ca"
    #: The operator's own table, by IKE identity.
    STATIC = "static"


class Inheritable(StrEnum):
    """What an RFC 3779 extension can leave to the issuer's certificate (``inherit``)."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    AS_NUMBER = "as_number"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one source entitles to, in the order of the source.

    ``inherits``: what the source leaves to the issuer's certificate instead of naming it.
    """

    protocol_addresses: tuple[Claim[Address], ...] = ()
    as_numbers: tuple[Claim[AsRange], ...] = ()
    prefixes: tuple[Claim[Network], ...] = ()
    roles: tuple[Claim[Role], ...] = ()
    inherits: frozenset[Inheritable] = frozenset()


@dataclass(frozen=True, slots=True)
class Label:
    """A peer's name for people, as one word of letters, digits, ``.``, ``_`` and ``-``; it decides nothing.

    Raises ``ValueError`` for any other text: a label stands in commands.
    """

    LONGEST: ClassVar[int] = 32

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{self.LONGEST}}}", self.text):
            raise ValueError(f"not a label: {self.text!r:.100}")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the policy reads from a peer's X.509 certificate.

    ``subject`` and ``issuer`` are for people (logs, the info series); ``subject_rfc4514`` and ``issuer_rfc4514`` are
    the same names whole, for the operator's patterns; no resource is ever parsed back out of them. ``aliases``: the
    subject in other forms, as far as those are not ``identities``.
    ``subject_name`` and ``issuer_name`` are the same names in DER. ``identity`` is
    the same after a renewal, with other resources too, and however its names are encoded (RFC 5280, section 7.1).
    ``fingerprint`` is the SHA-256 of the DER, in lower-case hex. ``not_before`` and ``not_after`` are aware, UTC.
    ``identities``: the IKE identities that the certificate can prove, as charon prints them: its subject (missing
    where charon's form of it is not known for certain) and its
    subjectAltNames. ``resources``: what each source names; a source that names nothing is missing. ``overlooked``:
    what looks like a resource and is not taken, with what it looks like, for people. ``hub_hosts``: the hubs' hosts
    by dmvpn-ca, for people. ``label``: its name for people. ``site``: the same for all certificates whose subjects
    differ only in what tells one holder from another (CN and the like) and in resources; empty without an OU for the
    site.
    """

    fingerprint: str
    subject: str
    serial: int
    not_before: datetime
    not_after: datetime
    issuer: str = ""
    subject_name: bytes = dataclass_field(default=b"", compare=False)
    issuer_name: bytes = b""
    identity: str = ""
    identities: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    subject_rfc4514: str = ""
    issuer_rfc4514: str = ""
    resources: Mapping[Source, Resources] = dataclass_field(default_factory=dict, hash=False)
    overlooked: tuple[Claim[str], ...] = ()
    hub_hosts: tuple[str, ...] = ()
    label: Label | None = None
    site: str = ""
    der: bytes = dataclass_field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BadCertificate:
    """A certificate that could not be read; ``why`` names the part that failed."""

    why: str


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


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """nhrpd's question: may this protocol address be bound to this NBMA address?

    ``certificate`` is ``None`` where nhrpd sent none (the peer authenticated without one, or nhrpd cannot hold it:
    2048 bytes and more), and none is known by the IKE_SA. ``ike_peers``: who has an IKE_SA with the NBMA address in
    the interface's own connection; ``None`` where charon was not asked.
    ``local_nbma_address``: this node's own end. ``local_addresses``: protocol addresses of this node.
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


@dataclass(frozen=True, slots=True)
class Peer:
    """An accepted peer: one binding and what its certificate, or the static table, entitles it to.

    ``as_number`` is ``None`` where the node runs no BGP towards it, as for one in quarantine. ``identity`` names
    whose resources these are: it is the same after a certificate was renewed. ``fingerprint`` is empty and
    ``not_after`` is ``None`` where there is no certificate. ``max_prefix_length``: the longest prefix that is taken
    from it inside its prefixes, IPv4 and IPv6. ``transit``: what it may announce for others, as a hub does for its
    spokes, each network with the longest prefix length; ``None`` where it speaks for itself only. ``withheld``: no
    prefix that overlaps these networks is taken from it. ``default_route``: 0.0.0.0/0 and ::/0 are taken from it if
    they lie in what it may announce. ``label``: its name for people. ``site``: peers with the same one may hold the
    same prefixes (``OnConflict.SHARE``); empty for a peer that shares with nobody.
    """

    protocol_address: Address
    nbma_address: Address
    interface: str
    as_number: int | None
    prefixes: tuple[Network, ...]
    fingerprint: str
    subject: str
    not_after: datetime | None
    kind: PeerKind = PeerKind.SPOKE
    identity: str = ""
    quarantined: bool = False
    max_prefix_length: tuple[int, int] = (32, 128)
    transit: tuple[tuple[Network, int], ...] | None = None
    withheld: tuple[Network, ...] = ()
    default_route: bool = False
    label: Label | None = None
    site: str = ""

    @property
    def announces(self) -> tuple[tuple[Network, int], ...]:
        """Return what is taken from it, each network with the longest prefix length: its own, or what it carries."""
        if self.transit is not None:
            return self.transit
        return tuple((prefix, self.max_prefix_length[prefix.version == 6]) for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied to one value: what an operator is shown.

    ``field`` is where the value stands (``OU GRE``), ``found`` the value, ``expected`` what the rule asks.
    """

    reason: Reason
    field: str
    found: str
    expected: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Accept:
    """The binding is authorized.

    ``peer`` is ``None`` where the binding is that of a host, which makes nobody a peer: ``behind`` is then the peer
    that the host is behind, with the host as its only prefix. ``replaces`` are the peers that lose an address or a
    prefix to this one.
    """

    peer: Peer | None
    replaces: tuple[Peer, ...] = ()
    behind: Peer | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """The binding is refused for ``reason``; ``field``, ``found`` and ``expected`` say what failed."""

    reason: Reason
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.field} is {self.found}, expected {self.expected}"


Decision = Accept | Deny
