"""A small PKI to begin with, as a CA would issue it: real signatures, and every extension that one meets.

Ed25519, because its signatures are the same each time, and so is a campaign.
"""

from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from factories import NOW, UNITS, YEAR

HONEST = "CN=honest, OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24"


def key(name: str) -> Ed25519PrivateKey:
    """Return the key of a name."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)[:32])


def _name(common: str, *units: str) -> x509.Name:
    attributes = [(NameOID.COMMON_NAME, common), *((NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units)]
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes])


def _issue(subject: x509.Name, of: str, issuer: str, serial: int, *extensions: x509.ExtensionType) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_name(issuer))
        .public_key(key(of).public_key())
        .serial_number(serial)
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(key(issuer), None).public_bytes(Encoding.DER)


def _uses(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)


@lru_cache
def certificates() -> dict[str, bytes]:
    """Return the root, the CA below it, an honest peer, and a peer with everything."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://ca.example/crl")], None, None, None)
    everything: list[x509.ExtensionType] = [
        x509.BasicConstraints(ca=False, path_length=None),
        _uses(ca=False),
        x509.SubjectKeyIdentifier.from_public_key(key("peer").public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key("sub").public_key()),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        x509.SubjectAlternativeName([
            x509.DNSName("peer.example"), x509.RFC822Name("peer@example.org"),
            x509.IPAddress(ip_address("10.255.0.3")),
            x509.DirectoryName(_name("other", "x")), x509.UniformResourceIdentifier("urn:peer"),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04peer"),
        ]),
        x509.IssuerAlternativeName([x509.DirectoryName(_name("other", "x"))]),
        x509.CRLDistributionPoints([point]),
        x509.FreshestCRL([point]),
        x509.AuthorityInformationAccess([
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.DirectoryName(_name("ocsp"))),
        ]),
        x509.CertificatePolicies([
            x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), ["urn:x", x509.UserNotice(None, "x")]),
        ]),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.OCSPNoCheck(),
    ]  # fmt: skip
    constraints = x509.NameConstraints(
        [x509.DirectoryName(_name("x")), x509.IPAddress(ip_network("10.255.0.0/24"))], [x509.DNSName("evil.example")]
    )
    ca = x509.BasicConstraints(ca=True, path_length=None)
    return {
        "root": _issue(_name("root"), "root", "root", 1, ca, _uses(ca=True)),
        "sub": _issue(
            _name("sub"), "sub", "root", 2, x509.BasicConstraints(ca=True, path_length=0), _uses(ca=True),
            constraints, x509.PolicyConstraints(0, None), x509.InhibitAnyPolicy(1),
        ),
        "honest": _issue(_name("honest", *UNITS), "honest", "sub", 3),
        "peer": _issue(_name("peer", *UNITS), "peer", "sub", 2**150 + 7, *everything),
    }  # fmt: skip


@lru_cache
def crls() -> tuple[bytes, ...]:
    """Return CRLs: an empty one, one with entries and their extensions, a partial one."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_name("root"))
        .last_update(NOW)
        .next_update(NOW + timedelta(days=7))
        .add_extension(x509.CRLNumber(7), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key("root").public_key()), critical=False)
    )
    full = builder
    for serial, reason in (
        (3, x509.ReasonFlags.key_compromise),
        (2**150 + 7, x509.ReasonFlags.certificate_hold),
        (1, None),
    ):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        if reason:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            entry = entry.add_extension(x509.InvalidityDate(NOW.replace(tzinfo=None)), critical=False)
        full = full.add_revoked_certificate(entry.build())
    issuer = x509.RevokedCertificateBuilder().serial_number(9).revocation_date(NOW)
    issuer = issuer.add_extension(x509.CertificateIssuer([x509.DirectoryName(_name("other"))]), critical=True)
    partial = builder.add_revoked_certificate(issuer.build()).add_extension(
        x509.IssuingDistributionPoint(
            [x509.UniformResourceIdentifier("http://ca.example/crl")], None, False, False, None, True, False
        ),
        critical=True,
    )
    return tuple(one.sign(key("root"), None).public_bytes(Encoding.DER) for one in (builder, full, partial))
