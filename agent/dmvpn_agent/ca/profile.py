"""What the CA's certificates contain, before they are signed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.ca.block import Block, Kind
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.extensions import address_blocks, as_identifiers, hub_hosts, is_hub
from dmvpn_agent.ca.node import HUBS, Node, merged
from dmvpn_agent.ca.settings import ResourcesIn, Settings

#: How long before now certificates become valid: other clocks may be behind.
BACKDATED = timedelta(hours=1)

#: id-kp-cmcRA: the registration authority of a CA (RFC 6402, section 2.10; RFC 7030, section 3.6.1).
_CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

#: An extension, and whether it is critical.
Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True, slots=True)
class Networks:
    """The pools: what the whole network consists of."""

    tunnels: tuple[Network, ...]
    sites: tuple[Network, ...]
    as_ranges: tuple[AsRange, ...]

    @classmethod
    def of_pools(cls, pools: Sequence[Block]) -> "Networks":
        """Return the pools by kind."""
        return cls(
            tunnels=tuple(one.network for one in pools if one.kind is Kind.ADDRESS),
            sites=tuple(one.network for one in pools if one.kind is Kind.PREFIX),
            as_ranges=tuple(AsRange(one.low, one.high) for one in pools if one.kind is Kind.AS_NUMBER),
        )


def organization(text: str) -> tuple[x509.RelativeDistinguishedName, ...]:
    """Return the beginning of all subjects. Raises ``CaError``."""
    try:
        found = tuple(x509.Name.from_rfc4514_string(text).rdns)
    except ValueError as error:
        raise CaError(f"{text!r:.80} is not a name: {error}", "write it as RFC 4514 does: O=Example,C=FI") from error
    if not found:
        raise CaError("the organization is empty", "write it as RFC 4514 does: O=Example,C=FI")
    return found


def node_subject(node: Node, settings: Settings) -> x509.Name:
    """Return a node's subject: organization, site, its resources if they are in the subject, and its name.

    The names of all nodes of a site differ only in resources and CN, so that they may share the site's prefixes.
    """
    units = [HUBS if node.is_hub else node.site]
    if settings.resources_in is not ResourcesIn.EXTENSIONS:
        units += [f"GRE={address}" for address in node.addresses]
        units.append(f"AS={node.as_number}")
        units += [f"NET={prefix}" for prefix in merged(node.prefixes)]
    own = [*((NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units), (NameOID.COMMON_NAME, node.common_name)]
    return x509.Name([
        *organization(settings.organization),
        *(x509.RelativeDistinguishedName([x509.NameAttribute(oid, value)]) for oid, value in own),
    ])  # fmt: skip


def node_certificate(
    node: Node, public_key: CertificatePublicKeyTypes, issuer: x509.Certificate, settings: Settings,
    networks: Networks, now: datetime,
) -> x509.CertificateBuilder:  # fmt: skip
    """Return a node's certificate, to be signed. It does not outlive its issuer. Raises ``CaError``."""
    usage = _usage(digital_signature=True)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.IPSEC_IKE])
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (purposes, False),
        (authority_key_identifier(issuer), False),
    ]
    if settings.crl_urls:
        extensions.append(
            (x509.CRLDistributionPoints([_distribution_point(url) for url in settings.crl_urls]), False)
        )
    if settings.hub_hosts:
        extensions.append((hub_hosts(settings.hub_hosts), False))
    if settings.resources_in is not ResourcesIn.SUBJECT:
        extensions += _resources(node, networks)
    until = min(now + timedelta(days=settings.node_days), issuer.not_valid_after_utc)
    builder = _builder(node_subject(node, settings), issuer.subject, public_key, now, until)
    return _extended(builder, extensions)


def ca_certificate(
    name: x509.Name, public_key: CertificatePublicKeyTypes, issuer: x509.Certificate | None, now: datetime, days: int,
    path_length: int, held: Networks | None = None,
) -> x509.CertificateBuilder:  # fmt: skip
    """Return the certificate of a CA, to be signed; a root without ``issuer``.

    ``held``: the resources that certificates below it may name at most (RFC 3779); without it there is no limit.
    """
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_usage(key_cert_sign=True, crl_sign=True), True),
    ]
    if issuer is not None:
        extensions.append((authority_key_identifier(issuer), False))
    if held is not None:
        extensions.append((address_blocks((*held.tunnels, *held.sites)), True))
        extensions.append((as_identifiers(held.as_ranges), False))  # charon would refuse it as critical
    until = now + timedelta(days=days)
    if issuer is not None:
        until = min(until, issuer.not_valid_after_utc)
    return _extended(_builder(name, issuer.subject if issuer else name, public_key, now, until), extensions)


def service_certificate(
    names: Sequence[str], public_key: CertificatePublicKeyTypes, issuer: x509.Certificate, settings: Settings,
    now: datetime, until: datetime, *, encrypts: bool,
) -> x509.CertificateBuilder:  # fmt: skip
    """Return a certificate of the CA's own server, to be signed: no resources, so that no node accepts it as a peer.

    ``names``: its addresses and DNS names. ``encrypts``: messages are encrypted for its key (SCEP); otherwise it is
    for TLS.
    """
    own = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    subject = x509.Name([*organization(settings.organization), own])
    purposes = [_CMC_RA] if encrypts else [ExtendedKeyUsageOID.SERVER_AUTH, _CMC_RA]
    return _extended(
        _builder(subject, issuer.subject, public_key, now, until),
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(digital_signature=True, key_encipherment=encrypts), True),
            (x509.ExtendedKeyUsage(purposes), False),
            (x509.SubjectAlternativeName([general_name(name) for name in names]), False),
            (authority_key_identifier(issuer), False),
        ],
    )


def unbounded(authority: x509.Certificate) -> x509.CertificateBuilder:
    """Return a CA's certificate with all address blocks and AS numbers, to be signed by a key that is not kept.

    It is a trust anchor for OpenSSL, which refuses certificates with blocks if the anchor has none (RFC 3779, section
    2.3). It is never shown to anybody.
    """
    usage = _usage(key_cert_sign=True, crl_sign=True)
    begin, end = authority.not_valid_before_utc, authority.not_valid_after_utc
    builder = x509.CertificateBuilder(
        authority.issuer, authority.subject, authority.public_key(), authority.serial_number, begin, end
    )
    own = authority_key_identifier(authority).key_identifier or b""
    extensions: list[Extension] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier(own), False),
        (address_blocks((ip_network("0.0.0.0/0"), ip_network("::/0"))), True),
        (as_identifiers([AsRange(0, 4294967295)]), False),
    ]
    return _extended(builder, extensions)


def general_name(name: str) -> x509.GeneralName:
    """Return an address or a DNS name for a certificate. Raises ``CaError``."""
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        if not _DNS_NAME.fullmatch(name):
            raise CaError(f"{name!r:.80} is no address and no DNS name", "write it in ASCII (xn--…)") from None
        return x509.DNSName(name)


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return how a certificate or CRL names the key of its issuer."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _resources(node: Node, networks: Networks) -> list[Extension]:
    """Return the extensions of dmvpn-ca's certificates; a hub's blocks are those of the whole network.

    charon does not know role and AS numbers: here they are not critical, so that it needs no other configuration.
    """
    blocks = (*networks.tunnels, *networks.sites) if node.is_hub else node.prefixes
    extensions: list[Extension] = [(is_hub(node.is_hub), False)]
    if blocks:
        extensions.append((address_blocks(blocks), True))
    extensions.append((x509.SubjectAlternativeName([x509.IPAddress(one) for one in node.addresses]), False))
    extensions.append((as_identifiers([AsRange(node.as_number, node.as_number)]), False))
    return extensions


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _extended(builder: x509.CertificateBuilder, extensions: Sequence[Extension]) -> x509.CertificateBuilder:
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder


def _distribution_point(url: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)


def _usage(
    *,
    digital_signature: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
    key_encipherment: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
