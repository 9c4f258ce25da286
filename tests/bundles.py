"""Bundles as CAs make them: the Alpine guide's form, and dmvpn-ca's."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from dmvpn_lab.dmvpn_ca import DmvpnCa
from dmvpn_lab.issued import Credentials
from guide_ca import Authority

HUB = ("Hubs", "GRE=10.255.0.1", "AS=65000", "NET=192.168.0.0/24")
SPOKE = ("GRE=10.255.0.17", "AS=65017", "NET=192.168.17.0/24")
#: The networks in the address blocks of dmvpn-ca's hubs: all sites', and the tunnel's.
HUB_BLOCKS = tuple(map(IPv4Network, ("10.0.0.0/8", "172.18.0.0/16")))


def pfx(credentials: Credentials, passphrase: str = "", *, key: bool = True, chain: bool = True) -> bytes:
    """Return PKCS #12 of a certificate; without its key or without its CA, if asked for."""
    private = load_pem_private_key(credentials.key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return serialize_key_and_certificates(
        b"node",
        private if key else None,
        x509.load_pem_x509_certificate(credentials.certificate),
        [x509.load_pem_x509_certificate(credentials.ca_certificate)] if chain else None,
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption(),
    )


def guide(units: Sequence[str] = SPOKE, authority: Authority | None = None) -> Credentials:
    """Return a certificate in the Alpine guide's form."""
    return (authority or Authority()).issue("node", units)


def of_dmvpn_ca(site: str = "FIN", authority: DmvpnCa | None = None) -> Credentials:
    """Return a certificate of dmvpn-ca: of a site's router, or a hub's without a site."""
    ca = authority or DmvpnCa()
    if site:
        return ca.certify(site, [IPv4Address("172.18.0.17")], [IPv4Network("10.17.0.0/16")])
    return ca.certify("", [IPv4Address("172.18.0.1")], HUB_BLOCKS)
