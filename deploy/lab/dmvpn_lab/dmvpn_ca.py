"""The certificates of dmvpn-ca (github.com/alpinelinux/dmvpn-tools), in its exact form, and what its database has.

The CA has serial number 0; the others count from 1. Keys are of the curve secp384r1. A site's router is
``OU=<site>, CN=VPNc-<n>``, a hub ``OU=Hubs, CN=Hub-<n>``. What a router may have stands in extensions: its protocol
addresses in subjectAltName, the site's subnets in RFC 3779 address blocks, its AS number. A hub's blocks are those of
the whole network, with the tunnel's. Unlike those of ``dmvpn-agent ca``, role and AS number are critical, and the
certificates say nothing about the use of their keys.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.ca.dmvpn_ca import OldCa, OldCertificate, OldConfiguration, OldNode, OldSite
from dmvpn_agent.ca.extensions import address_blocks, as_identifiers, hub_hosts, is_hub
from dmvpn_agent.x509.private_key import new_key, plain_pem
from dmvpn_lab.issued import Credentials
from dmvpn_lab.scenario import Scenario

_CRL, _HUB_HOSTS = "http://crl.example.com/dmvpn-ca.crl", ("hubs.example.com",)
#: Without a distribution point: the lab has no server for CRLs.
CONFIGURATION = OldConfiguration(hub_hosts=_HUB_HOSTS)
_LIFETIME = timedelta(days=30)

#: An extension, and whether it is critical.
Extension = tuple[x509.ExtensionType, bool]


class DmvpnCa:
    """Issues certificates as ``dmvpn-ca cert generate`` does."""

    def __init__(self, crl_urls: Sequence[str] = (_CRL,)) -> None:
        """``crl_urls``: the distribution points."""
        self._crl_urls = crl_urls
        self.key = new_key()
        self._name = _name()
        self._next_serial = 0
        self._issued: dict[str, int] = {}
        own = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        constraints, usage = x509.BasicConstraints(ca=True, path_length=0), _ca_usage()
        self.root = self._signed(self._name, self.key, ((constraints, True), (usage, True), (own, False)))

    def certify(
        self, site: str, addresses: Sequence[Address], subnets: Sequence[Network], as_number: int = 65000
    ) -> Credentials:
        """A certificate for the next router of a site, or for the next hub if ``site`` is empty.

        ``addresses`` are its protocol addresses, ``subnets`` the site's.
        """
        number = self._issued[site] = self._issued.get(site, 0) + 1
        points = [
            x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in self._crl_urls
        ]
        return self.certificate(
            _name(site or "Hubs", f"{'VPNc' if site else 'Hub'}-{number}"),
            (
                *(((x509.CRLDistributionPoints(points), False),) if points else ()),
                (is_hub(not site), True),
                (hub_hosts(_HUB_HOSTS), False),
                (address_blocks(subnets), True),
                (x509.SubjectAlternativeName([x509.IPAddress(address) for address in addresses]), False),
                (as_identifiers([AsRange(as_number, as_number)]), True),
            ),
        )

    def certificate(self, subject: x509.Name, extensions: Sequence[Extension]) -> Credentials:
        """A certificate with these extensions."""
        key = new_key()
        common: tuple[Extension, ...] = (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        )
        return Credentials(self._signed(subject, key, (*common, *extensions)), plain_pem(key), self.root)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: Sequence[Extension]) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._name, subject, key.public_key(), self._next_serial, now - timedelta(hours=1), now + _LIFETIME
        )
        self._next_serial += 1
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class OldNetwork:
    """What dmvpn-ca has of a scenario. ``names``: what ``ca import-dmvpn-ca`` calls the nodes."""

    ca: OldCa
    credentials: Mapping[str, Credentials]
    names: Mapping[str, str]


def network(scenario: Scenario) -> OldNetwork:
    """Return a scenario's network as dmvpn-ca makes one."""
    ca, whole = DmvpnCa(CONFIGURATION.crl_urls), (*scenario.networks.alloweds, *scenario.networks.tunnels)
    nodes: list[OldNode] = []
    certificates, credentials, names = [], {}, {}
    sites: dict[str, OldSite] = {}
    for serial, node in enumerate(scenario.nodes.values(), 1):
        code = "" if node.role == "hub" else node.site_name
        subnets = node.certified_prefixes if code else whole
        number = 1 + sum(one.site == code for one in nodes)
        made = credentials[node.name] = ca.certify(code, node.certified_addresses, subnets, node.as_number)
        names[node.name] = f"{code or 'Hub'}-{number}"
        nodes.append(OldNode(code, number, f"{'VPNc' if code else 'Hub'}-{number}", node.certified_addresses))
        certificates.append(OldCertificate(serial, code, number, made.certificate, None))
        if code:
            sites.setdefault(code, OldSite(code, code, node.as_number, subnets))
    old = OldCa(
        tuple(sites.values()), tuple(nodes), tuple(certificates), whole, scenario.hubs[0].as_number, ca.root,
        plain_pem(ca.key), 0,
    )  # fmt: skip
    return OldNetwork(old, credentials, names)


def _name(unit: str = "", common_name: str = "") -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, "DMVPN")]
    if unit:
        parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
