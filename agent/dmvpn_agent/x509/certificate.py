"""What the policy reads from a certificate, as values.

They are immutable and already valid: the readers beside this file make them from octets.
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
    """What this node is in the DMVPN."""

    HUB = "hub"
    SPOKE = "spoke"


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
    lookalikes: tuple[Claim[str], ...] = ()
    hub_hosts: tuple[str, ...] = ()
    label: Label | None = None
    site: str = ""
    der: bytes = dataclass_field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BadCertificate:
    """A certificate that could not be read; ``why`` names the part that failed."""

    why: str
