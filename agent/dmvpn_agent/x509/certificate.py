"""A certificate as the policy sees it: names, dates and claims.

The values are immutable and valid; ``certificate_reader`` makes them from DER.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from dmvpn_agent.addresses import Address, AsRange, Network

T_co = TypeVar("T_co", covariant=True)


class Role(StrEnum):
    """The role of a node in the DMVPN."""

    HUB = "hub"
    SPOKE = "spoke"


#: The field of a prefix in an RFC 3779 extension.
ADDRESS_BLOCKS = "IPAddrBlocks"


@dataclass(frozen=True, slots=True)
class Claim(Generic[T_co]):
    """One resource that a certificate names.

    ``field`` is its place (``OU GRE``). ``text`` is what is written there, cut and with control characters escaped,
    for people only. ``value`` is ``None`` if the text is malformed.
    """

    field: str
    text: str
    value: T_co | None


class Source(StrEnum):
    """The places that name resources."""

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
    """What an RFC 3779 extension can inherit from the issuer's certificate."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    AS_NUMBER = "as_number"


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that one source names, in its order.

    ``inherits``: what the source inherits from the issuer's certificate instead of naming it.
    """

    protocol_addresses: tuple[Claim[Address], ...] = ()
    as_numbers: tuple[Claim[AsRange], ...] = ()
    prefixes: tuple[Claim[Network], ...] = ()
    roles: tuple[Claim[Role], ...] = ()
    inherits: frozenset[Inheritable] = frozenset()


@dataclass(frozen=True, slots=True)
class Label:
    """A peer's name for people: one word of letters, digits, ``.``, ``_`` and ``-``. It decides nothing.

    Raises ``ValueError`` for any other text, because labels appear in commands.
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
    """An X.509 certificate of a peer.

    ``subject`` and ``issuer`` are for people; ``subject_rfc4514`` and ``issuer_rfc4514`` are the complete names, for
    the operator's patterns; ``subject_name`` and ``issuer_name`` are their DER. No resource is ever parsed from text.
    ``fingerprint``: SHA-256 of the DER in lower-case hexadecimal. ``not_before`` and ``not_after`` are aware, UTC.

    ``identity`` stays the same if the certificate is renewed, also with other resources or with names in another
    encoding (RFC 5280, section 7.1). ``identities``: the IKE identities that the certificate proves, as charon prints
    them: its subject, if charon's form of it is known for certain, and its subjectAltNames. ``aliases``: other forms
    of the subject. ``folded_subject``: its ``name.folded_name``, for patterns; empty if an alias is the same to them.

    ``resources``: what each source names; a source that names nothing is absent. ``lookalikes``: OUs that look like
    resources and are none, with the form that would count. ``hub_hosts``: where dmvpn-ca says that hubs are, for
    people. ``label``: its name for people. ``site``: the same for certificates whose subjects differ only in the
    holder (CN and the like) and in resources; empty without an OU for the site.
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
    folded_subject: str = ""
    subject_rfc4514: str = ""
    issuer_rfc4514: str = ""
    resources: Mapping[Source, Resources] = dataclass_field(default_factory=dict, hash=False)
    lookalikes: tuple[Claim[str], ...] = ()
    hub_hosts: tuple[str, ...] = ()
    label: Label | None = None
    site: str = ""
    der: bytes = dataclass_field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BadCertificate:
    """A certificate that could not be read; ``why`` names what failed."""

    why: str
