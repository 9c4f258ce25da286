"""Authorities, certificates and CRLs of a world: what they are meant to say, and their DER.

The oracle goes by what they are meant to say, and by OpenSSL's reading of the DER; the product reads the DER alone.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from hashlib import sha1 as _sha1
from ipaddress import ip_address

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from campaign import asn1
from campaign.asn1 import Network, extension, integer, oid, seq, tlv

#: Attributes of a name: type, value, tag of the string.
Name = tuple[tuple[str, str, int], ...]

_ECDSA = {False: seq(oid("1.2.840.10045.4.3.2")), True: seq(oid("1.2.840.10045.4.1"))}


@lru_cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return the key of this number, the same in every process."""
    return ec.derive_private_key(1000 + number, ec.SECP256R1())


@lru_cache
def _public(number: int) -> bytes:
    return key(number).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache
def key_id(number: int) -> bytes:
    """Return the key identifier of RFC 5280, 4.2.1.2 (1)."""
    point = key(number).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _sha1(point, usedforsecurity=False).digest()


def _signed(inside: bytes, signer: int, sha1: bool) -> bytes:
    algorithm = hashes.SHA1() if sha1 else hashes.SHA256()
    signature = key(signer).sign(inside, ec.ECDSA(algorithm))
    return seq(inside, _ECDSA[sha1], asn1.bits(signature))


def canonical(name: Name) -> tuple[tuple[str, str], ...]:
    """Return a name as RFC 5280, 7.1 compares it: whatever the string type, the case and the white space."""
    return tuple((kind, " ".join(text.split()).lower()) for kind, text, _ in name)


def printed(name: Name) -> str:
    """Return a name as charon prints it."""
    shown = ", ".join(f"{kind}={text}" for kind, text, _ in name)
    return "".join(char if char.isascii() and char.isprintable() else "?" * len(char.encode()) for char in shown)


@dataclass
class Resources:
    """RFC 3779 extensions: ``None`` is inherit; a missing extension has no entry."""

    blocks: tuple[Network, ...] | str | None = "absent"
    numbers: tuple[tuple[int, int], ...] | str | None = "absent"

    def extensions(self) -> list[bytes]:
        """Return them as critical extensions."""
        found = []
        if not isinstance(self.blocks, str):
            found.append(extension("1.3.6.1.5.5.7.1.7", asn1.ip_blocks(self.blocks), True))
        if not isinstance(self.numbers, str):
            found.append(extension("1.3.6.1.5.5.7.1.8", asn1.as_identifiers(self.numbers), True))
        return found


@dataclass
class Authority:
    """A CA, or an issuer that is not one; ``parent`` is ``None`` for a root."""

    label: str
    name: Name
    key: int
    parent: "Authority | None"
    start: datetime
    end: datetime
    serial: int = 1
    is_ca: bool = True
    path_length: int | None = None
    crl_sign: bool = True
    cert_sign: bool = True
    sha1: bool = False
    resources: Resources = field(default_factory=Resources)
    #: The issuer's name as it stands in this certificate; another spelling of it, for one.
    issuer_name: Name | None = None

    @cached_property
    def der(self) -> bytes:
        """Its certificate."""
        return self._made(self.resources.extensions())

    @cached_property
    def plain(self) -> bytes:
        """The same without RFC 3779, which OpenSSL judges more strictly than docs/trust.md."""
        return self._made([]) if self.resources.extensions() else self.der

    def _made(self, resources: list[bytes]) -> bytes:
        signer = self.parent or self
        usage = (0x04 if self.cert_sign else 0) | (0x02 if self.crl_sign else 0)
        constraints = [asn1.boolean(True)] if self.is_ca else []
        if self.path_length is not None:
            constraints.append(integer(self.path_length))
        return certificate(
            self.name, self.issuer_name or signer.name, self.serial, self.start, self.end, self.key, signer,
            [
                extension("2.5.29.19", seq(*constraints), True),
                extension("2.5.29.15", asn1.bits(bytes([usage]), 1), True),
                *resources,
            ],
            self.sha1,
        )  # fmt: skip

    def chain(self) -> "list[Authority]":
        """Return it and those above it, the root last."""
        return [self, *(self.parent.chain() if self.parent else [])]


def certificate(
    subject: Name, issuer: Name, serial: int, start: datetime, end: datetime, own: int, signer: "Authority",
    extensions: list[bytes], sha1: bool,
) -> bytes:  # fmt: skip
    """Return a signed certificate."""
    identifiers = [
        extension("2.5.29.14", asn1.octets(key_id(own))),
        extension("2.5.29.35", seq(tlv(0x80, key_id(signer.key)))),
    ]
    inside = seq(
        tlv(0xA0, integer(2)), integer(serial), _ECDSA[sha1], asn1.name(*issuer),
        seq(asn1.time(start), asn1.time(end)), asn1.name(*subject), _public(own),
        tlv(0xA3, seq(*extensions, *identifiers)),
    )  # fmt: skip
    return _signed(inside, signer.key, sha1)


@dataclass
class Holder:
    """A peer's certificate. ``units`` are the OUs as written, in order, before the CN."""

    label: str
    common_name: str
    units: tuple[str, ...]
    issuer: Authority
    key: int
    start: datetime
    end: datetime
    serial: int
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    is_hub: bool | None = None
    tag: int = asn1.UTF8
    sha1: bool = False
    issuer_name: Name | None = None
    padding: int = 0

    @property
    def name(self) -> Name:
        """Its subject."""
        units = tuple(("OU", unit, self.tag if unit.isascii() and "=" not in unit else asn1.UTF8)
                      for unit in self.units)  # fmt: skip
        return (("O", "lab", self.tag), *units, *((("CN", self.common_name, self.tag),) if self.common_name else ()))

    def text(self) -> str:
        """Return the subject as charon prints it."""
        return printed(self.name)

    @cached_property
    def der(self) -> bytes:
        """The certificate."""
        own = self.resources.extensions()
        if self.is_hub is not None:
            own.append(extension("1.3.6.1.4.1.31536.1.1", asn1.boolean(self.is_hub), True))
        return self._made(own)

    @cached_property
    def plain(self) -> bytes:
        """The same without the critical extensions that OpenSSL does not know, or judges in its own way."""
        return self._made([])

    def _made(self, own: list[bytes]) -> bytes:
        names = [tlv(0x82, host.encode()) for host in self.hosts]
        names += [tlv(0x87, ip_address(text).packed) for text in self.addresses]
        extensions = [extension("2.5.29.19", seq(), True), *own]
        if names:
            extensions.append(extension("2.5.29.17", seq(*names)))
        if self.padding:
            extensions.append(extension("1.3.6.1.4.1.99999.1", asn1.octets(bytes(self.padding))))
        return certificate(
            self.name, self.issuer_name or self.issuer.name, self.serial, self.start, self.end, self.key, self.issuer,
            extensions, self.sha1,
        )  # fmt: skip


@dataclass
class Crl:
    """A CRL: ``signer`` signs it, ``name`` stands in it; ``scope`` is its IssuingDistributionPoint, if any."""

    label: str
    signer: Authority
    name: Name
    number: int
    start: datetime
    end: datetime
    serials: tuple[int, ...]
    scope: str = ""
    base: int | None = None
    removed: tuple[int, ...] = ()
    authority_key: bool = True
    sha1: bool = False

    @cached_property
    def der(self) -> bytes:
        """The CRL."""
        remove = seq(extension("2.5.29.21", tlv(0x0A, b"\x08")))
        entries = [seq(integer(serial), asn1.time(self.start)) for serial in self.serials]
        entries += [seq(integer(serial), asn1.time(self.start), remove) for serial in self.removed]
        extensions = [extension("2.5.29.20", integer(self.number))]
        if self.authority_key:
            extensions.append(extension("2.5.29.35", seq(tlv(0x80, key_id(self.signer.key)))))
        if self.base is not None:
            extensions.append(extension("2.5.29.27", integer(self.base), True))
        if self.scope:
            point = tlv(0xA0, tlv(0xA0, tlv(0x86, b"http://ca.example/part.crl")))
            scopes = {"users": tlv(0x81, b"\xff"), "authorities": tlv(0x82, b"\xff"),
                      "reasons": tlv(0x83, b"\x06\x40"), "indirect": tlv(0x84, b"\xff"), "part": point}  # fmt: skip
            extensions.append(extension("2.5.29.28", seq(scopes[self.scope]), True))
        inside = seq(
            integer(1), _ECDSA[self.sha1], asn1.name(*self.name), asn1.time(self.start), asn1.time(self.end),
            *([seq(*entries)] if entries else []), tlv(0xA0, seq(*extensions)),
        )  # fmt: skip
        return _signed(inside, self.signer.key, self.sha1)
