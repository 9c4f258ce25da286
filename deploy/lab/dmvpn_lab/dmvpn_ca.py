"""The certificates of dmvpn-ca (github.com/alpinelinux/dmvpn-tools), in its exact form.

The CA has serial number 0; the others count from 1. Keys are of the curve secp384r1. A site's router is
``OU=<site>, CN=VPNc-<n>``, a hub ``OU=Hubs, CN=Hub-<n>``. What a router may have stands in extensions: its protocol
addresses in subjectAltName, the site's subnets in RFC 3779 address blocks, its AS number. A hub's blocks are those of
the whole network, with the tunnel's.
"""

import warnings
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509
from cryptography.x509.oid import NameOID

from dmvpn_lab.certificates import Authority, Credentials

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ROOT = "DMVPN"
_CRL = "http://crl.example.com/dmvpn-ca.crl"
_HUB_HOSTS = b"hubs.example.com"
_OID_IS_HUB = x509.ObjectIdentifier("1.3.6.1.4.1.31536.1.1")
_OID_HUB_HOSTS = x509.ObjectIdentifier("1.3.6.1.4.1.31536.1.2")
_OID_ADDRESS_BLOCKS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.7")
_OID_AS_IDENTIFIERS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.8")

_BOOLEAN, _INTEGER, _BIT_STRING, _OCTET_STRING, _IA5_STRING, _SEQUENCE, _ASNUM = 1, 2, 3, 4, 0x16, 0x30, 0xA0


class DmvpnCa(Authority):
    """Issues certificates as ``dmvpn-ca cert generate`` does, and CRLs as ``dmvpn-ca crl`` does."""

    def __init__(self) -> None:
        self._issued: dict[str, int] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at the serial number
            super().__init__(_name(), first_serial=0)

    def certify(
        self, called: str, site: str, addresses: Sequence[Address], subnets: Sequence[Network], as_number: int = 65000
    ) -> Credentials:
        """A certificate for the next router of a site, or for the next hub if ``site`` is empty.

        ``addresses`` are its protocol addresses, ``subnets`` the site's; ``called`` is how to revoke it.
        """
        number = self._issued[site] = self._issued.get(site, 0) + 1
        name = _name(site or "Hubs", f"{'VPNc' if site else 'Hub'}-{number}")
        return self.certificate(
            name,
            called,
            (
                (x509.CRLDistributionPoints([_distribution_point()]), False),
                (_unrecognized(_OID_IS_HUB, _der(_BOOLEAN, b"\x00" if site else b"\xff")), True),
                (_unrecognized(_OID_HUB_HOSTS, _der(_SEQUENCE, _der(_IA5_STRING, _HUB_HOSTS))), False),
                (_unrecognized(_OID_ADDRESS_BLOCKS, _address_blocks(subnets)), True),
                (x509.SubjectAlternativeName([x509.IPAddress(address) for address in addresses]), False),
                (_unrecognized(_OID_AS_IDENTIFIERS, _as_identifiers(as_number)), True),
            ),
            key_usage=False,
        )


def _name(unit: str = "", common_name: str = "") -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, _ROOT)]
    if unit:
        parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _distribution_point() -> x509.DistributionPoint:
    return x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(_CRL)], relative_name=None, reasons=None, crl_issuer=None
    )


def _unrecognized(oid: x509.ObjectIdentifier, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(oid, value)


def _address_blocks(subnets: Sequence[Network]) -> bytes:
    """IPAddrBlocks (RFC 3779, section 2.2.3): a family after the other, each with its prefixes."""
    families = {version: [one for one in subnets if one.version == version] for version in (4, 6)}
    return _der(
        _SEQUENCE,
        *(
            _der(
                _SEQUENCE,
                _der(_OCTET_STRING, afi.to_bytes(2)),
                _der(_SEQUENCE, *(_prefix(one) for one in sorted(families[version]))),
            )
            for afi, version in ((1, 4), (2, 6))
            if families[version]
        ),
    )


def _prefix(network: Network) -> bytes:
    octets = (network.prefixlen + 7) // 8
    return _der(_BIT_STRING, bytes([octets * 8 - network.prefixlen]), network.network_address.packed[:octets])


def _as_identifiers(number: int) -> bytes:
    value = _der(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))
    return _der(_SEQUENCE, _der(_ASNUM, _der(_SEQUENCE, value)))


def _der(tag: int, *content: bytes) -> bytes:
    data = b"".join(content)
    length = len(data)
    if length < 0x80:
        return bytes([tag, length]) + data
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + data
