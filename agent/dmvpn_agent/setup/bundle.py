"""A bundle: a key, its certificate and the CAs above it, from PKCS #12 (RFC 7292) or PEM.

A bundle comes from outside. Only parsed addresses, networks, numbers and host names leave it, and the key,
certificates and CAs in an encoding of our own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import PurePath

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.crls.distribution_points import distribution_points
from dmvpn_agent.policy.resources import combine, role_of
from dmvpn_agent.policy.rules import Combination
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Resources, Role, Source
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped, values
from dmvpn_agent.x509.pem import is_cut_off, is_pkcs12

MAX_BUNDLE_BYTES = 1 << 20
#: nhrpd keeps no certificate of this length or more.
NHRPD_LIMIT = 2048
#: dmvpn-ca names its files NAME.PASSWORD.pfx.
_IN_FILE_NAME = re.compile(r"[^.]+\.(?P<passphrase>[^.]+)\.(pfx|p12)")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
                   r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")  # fmt: skip
_CERTIFICATE_IN_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ALL_SOURCES = (Source.SUBJECT, Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA)
#: Of a CA that writes no OUs for resources: its OUs are site names.
_DMVPN_CA_SOURCES = (Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The EST server that issued a certificate, and renews it.

    ``authorities``: the CAs of its TLS certificate in PEM, if they are others than those of the DMVPN.
    """

    server: str
    authorities: bytes = b""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A readable bundle whose parts belong together.

    ``key``, ``certificate_pem`` and ``authorities`` are PEM; the authorities are all other certificates of the
    bundle, CAs and CRL signers. ``issuer_key``: the public key of the CA that issued the certificate. ``resources``:
    those that count. ``dmvpn_ca``: the certificate has dmvpn-ca's form. ``ca_blocks``: the networks of the issuer's
    RFC 3779 extension. ``enrolled`` is ``None`` for a certificate from a file.
    """

    key: bytes = field(repr=False)
    certificate: Certificate
    certificate_pem: bytes
    authorities: tuple[bytes, ...]
    issuer_key: bytes
    resources: Resources
    dmvpn_ca: bool
    ca_blocks: tuple[Network, ...] = ()
    enrolled: Enrolled | None = None

    @property
    def crl_is_fetched(self) -> bool:
        """Tell whether the certificate or a CA says where a CRL is."""
        read = (read_certificate(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))
                for pem in (self.certificate_pem, *self.authorities))  # fmt: skip
        return bool(distribution_points(one for one in read if isinstance(one, Certificate)))

    @property
    def role(self) -> Role:
        """Return the role that the certificate names."""
        return role_of(self.resources)

    @property
    def protocol_addresses(self) -> tuple[Address, ...]:
        """Return the protocol addresses."""
        return tuple(dict.fromkeys(values(self.resources.protocol_addresses)))

    @property
    def as_numbers(self) -> tuple[int, ...]:
        """Return the AS numbers that the certificate names one by one."""
        return tuple(one.low for one in values(self.resources.as_numbers) if one.low == one.high)

    @property
    def prefixes(self) -> tuple[Network, ...]:
        """Return the networks of the node itself."""
        return () if self._carries else tuple(dict.fromkeys(values(self.resources.prefixes)))

    @property
    def carried(self) -> tuple[Network, ...]:
        """Return the networks that a hub carries for others: its address blocks."""
        return tuple(dict.fromkeys(values(self.resources.prefixes))) if self._carries else ()

    @property
    def _carries(self) -> bool:
        units = self.certificate.resources.get(Source.SUBJECT)
        return self.role is Role.HUB and not (units and units.prefixes)

    @property
    def hub_hosts(self) -> tuple[str, ...]:
        """Return the hubs' hosts that the certificate names, without those that are neither address nor DNS name."""
        return tuple(host for host in self.certificate.hub_hosts if is_host(host))


def is_host(text: str) -> bool:
    """Tell whether text is an IPv4 address or a DNS name."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            IPv4Address(text)
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(text) is not None


def passphrase_in_name(file: PurePath) -> str | None:
    """Return the passphrase in a file's name, where dmvpn-ca writes it."""
    found = _IN_FILE_NAME.fullmatch(file.name)
    return found["passphrase"] if found else None


class WrongPassphrase(Exception):
    """The bundle cannot be decrypted by this passphrase."""


def read_bundle(data: bytes, passphrase: str | None, now: datetime) -> Bundle:
    """Read a bundle. Raises ``WrongPassphrase``, and ``Refused`` for everything else that is wrong."""
    key, certificates = _parts(data, passphrase)
    if key is None:
        raise Refused(Refusal("the bundle's key", "there is none", "the node's private key",
                              "export the bundle with its key"))  # fmt: skip
    public = _public(key)
    own = [one for one in certificates if _public(one) == public]
    if not own:
        raise Refused(Refusal("the bundle's certificate", f"none of {len(certificates)} certificates has the key",
                              "the certificate of the bundle's key", "ask the CA for a complete bundle"))  # fmt: skip
    authorities = [one for one in certificates if one not in own]
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _bundle(own[0], authorities, _issuer(own[0], authorities), private, now)


def read_router_certificate(data: bytes, passphrase: str | None, now: datetime) -> Bundle:
    """Read the certificate of a router that keeps its key itself, or a bundle; key and CAs may be missing.

    Raises ``WrongPassphrase`` and ``Refused``.
    """
    _, certificates = _parts(data, passphrase)
    if not certificates:
        raise Refused(Refusal("the certificate", "there is none", "the router's certificate", "name another file"))
    return _bundle(certificates[0], certificates[1:], certificates[0], b"", now)


def _bundle(
    leaf: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    issuer: x509.Certificate,
    key: bytes,
    now: datetime,
) -> Bundle:
    read = read_certificate(leaf.public_bytes(Encoding.DER))
    if isinstance(read, BadCertificate):
        raise Refused(Refusal("the bundle's certificate", read.why, "a certificate that peers can read",
                              "ask the CA for another one"))  # fmt: skip
    dmvpn_ca = _has_form_of_dmvpn_ca(read)
    order = _DMVPN_CA_SOURCES if dmvpn_ca else _ALL_SOURCES
    resources = combine(read.resources, order, Combination.FIRST).resources
    if refusals := [*_of_time(read, now), *_of_resources(read, resources)]:
        raise Refused(*refusals)
    return Bundle(
        key=key,
        certificate=read,
        certificate_pem=leaf.public_bytes(Encoding.PEM),
        authorities=tuple(one.public_bytes(Encoding.PEM) for one in authorities),
        issuer_key=_public(issuer),
        resources=resources,
        dmvpn_ca=dmvpn_ca,
        ca_blocks=_blocks(issuer),
    )


def _parts(data: bytes, passphrase: str | None) -> tuple[PrivateKeyTypes | None, list[x509.Certificate]]:
    if len(data) > MAX_BUNDLE_BYTES:
        raise Refused(
            Refusal("the bundle", f"longer than {MAX_BUNDLE_BYTES} bytes", "a PFX file", "name another file")
        )
    is_pem = b"-----BEGIN " in data
    if (is_pem or is_pkcs12(data)) and is_cut_off(data):
        raise Refused(Refusal("the bundle", f"its end is missing, after {len(data)} bytes", "the whole file",
                              "copy it again"))  # fmt: skip
    if is_pem:
        return _pem_parts(data, passphrase)
    if not is_pkcs12(data):
        raise Refused(Refusal("the bundle", "neither PKCS #12 (.pfx, .p12) nor PEM", "what `dmvpn-agent ca` or"
                              " another CA exports for a node", "name another file"))  # fmt: skip
    try:
        found = load_pkcs12(data, passphrase.encode() if passphrase else None)
    except ValueError as error:
        raise WrongPassphrase(escaped(str(error))) from None
    named = ([found.cert] if found.cert else []) + list(found.additional_certs)
    return found.key, [one.certificate for one in named]


def _pem_parts(data: bytes, passphrase: str | None) -> tuple[PrivateKeyTypes | None, list[x509.Certificate]]:
    try:
        certificates = [x509.load_pem_x509_certificate(one) for one in _CERTIFICATE_IN_PEM.findall(data)]
    except ValueError as error:
        raise Refused(Refusal("the bundle's certificates", escaped(str(error)), "readable certificates",
                              "ask the CA for another bundle"))  from None  # fmt: skip
    if b"PRIVATE KEY-----" not in data:
        return None, certificates
    try:
        encrypted = b"BEGIN ENCRYPTED" in data or b"Proc-Type: 4,ENCRYPTED" in data
        key = load_pem_private_key(data, passphrase.encode() if passphrase and encrypted else None)
    except (ValueError, TypeError) as error:  # TypeError: encrypted, and no passphrase
        raise WrongPassphrase(escaped(str(error))) from None
    return key, certificates


def _public(of: PrivateKeyTypes | x509.Certificate) -> bytes:
    return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _issuer(leaf: x509.Certificate, authorities: Sequence[x509.Certificate]) -> x509.Certificate:
    """Return the certificate of the CA that issued a certificate. Raises ``Refused``."""
    for one in authorities:
        try:
            leaf.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return one
    names = ", ".join(escaped(one.subject.rfc4514_string(), 60) for one in authorities)
    raise Refused(
        Refusal(
            "the bundle's chain",
            f"it has the CAs {names}; none of them issued the certificate" if names else "it has no CA's certificate",
            f"the certificate of {escaped(leaf.issuer.rfc4514_string(), 60)}",
            "export the bundle with the certificates of its CA",
        )
    )


def _has_form_of_dmvpn_ca(certificate: Certificate) -> bool:
    """Tell whether the resources are in extensions, as dmvpn-ca writes them, and none is in the subject."""
    units = certificate.resources.get(Source.SUBJECT, Resources())
    in_units = units.protocol_addresses or units.as_numbers or units.prefixes
    return Source.DMVPN_CA in certificate.resources and not in_units


def _blocks(issuer: x509.Certificate) -> tuple[Network, ...]:
    read = read_certificate(issuer.public_bytes(Encoding.DER))
    if isinstance(read, BadCertificate):
        return ()
    return tuple(values(read.resources.get(Source.RFC3779, Resources()).prefixes))


def _of_time(certificate: Certificate, now: datetime) -> list[Refusal]:
    begin, end = certificate.not_before, certificate.not_after
    if now < begin:
        return [Refusal("this machine's clock, or the certificate", f"it is {now:%Y-%m-%d %H:%M} UTC, and the"
                        f" certificate begins {begin:%Y-%m-%d %H:%M}", "a time in the certificate's lifetime",
                        "set the clock (chrony, ntpd), then run setup again")]  # fmt: skip
    if now > end:
        return [Refusal("the bundle's certificate", f"it ended {end:%Y-%m-%d %H:%M} UTC", "one that is valid",
                        "have the CA renew it; if the clock is wrong, set it")]  # fmt: skip
    return []


def _of_resources(certificate: Certificate, resources: Resources) -> list[Refusal]:
    found = []
    claims = (*resources.protocol_addresses, *resources.as_numbers, *resources.prefixes, *resources.roles)
    for claim in claims:
        if claim.value is None:
            found.append(Refusal(f"the certificate's {claim.field}", claim.text, "a value that peers can read",
                                 "ask the CA for another certificate"))  # fmt: skip
    for like in certificate.lookalikes:
        found.append(Refusal("the certificate's OU", like.text, f"{like.value}…, exactly", "ask the CA for another"
                             " certificate"))  # fmt: skip
    if not resources.protocol_addresses:
        found.append(Refusal("the certificate's resources", f"{certificate.subject} names no protocol address",
                             "OU=GRE=10.255.0.17 or the like, or an IP address in subjectAltName",
                             "ask the CA for a certificate of this DMVPN"))  # fmt: skip
    return found
