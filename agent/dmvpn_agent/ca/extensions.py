"""DER of the extensions that name resources: RFC 3779, and dmvpn-ca's own. ``x509`` reads them."""

from collections.abc import Iterable, Sequence

from cryptography import x509

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.ca.node import merged
from dmvpn_agent.x509.claim_sources import ADDRESS_BLOCKS, AS_IDENTIFIERS, HUB_HOSTS, IS_HUB
from dmvpn_agent.x509.der import BIT_STRING, IA5_STRING, INTEGER, OCTET_STRING, SEQUENCE, encoded

_BOOLEAN, _ASNUM = 0x01, 0xA0
_FAMILIES = ((4, b"\x00\x01"), (6, b"\x00\x02"))


def address_blocks(networks: Iterable[Network]) -> x509.UnrecognizedExtension:
    """Return IPAddrBlocks (RFC 3779, section 2.2.3): ascending, and what is contiguous as one range."""
    ordered = merged(networks)
    families = [
        encoded(SEQUENCE, encoded(OCTET_STRING, afi), encoded(SEQUENCE, *map(_run, _runs(ordered, version))))
        for version, afi in _FAMILIES
        if any(one.version == version for one in ordered)
    ]
    return _extension(ADDRESS_BLOCKS[0], encoded(SEQUENCE, *families))


def as_identifiers(ranges: Iterable[AsRange]) -> x509.UnrecognizedExtension:
    """Return ASIdentifiers (RFC 3779, section 3.2.3): ascending, without overlaps."""
    found: list[AsRange] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1].high + 1:
            found[-1] = AsRange(found[-1].low, max(high, found[-1].high))
        else:
            found.append(AsRange(low, high))
    numbers = (
        _integer(low) if low == high else encoded(SEQUENCE, _integer(low), _integer(high)) for low, high in found
    )
    return _extension(AS_IDENTIFIERS[0], encoded(SEQUENCE, encoded(_ASNUM, encoded(SEQUENCE, *numbers))))


def is_hub(value: bool) -> x509.UnrecognizedExtension:
    """Return dmvpn-ca's extension for the role."""
    return _extension(IS_HUB, encoded(_BOOLEAN, b"\xff" if value else b"\x00"))


def hub_hosts(hosts: Iterable[str]) -> x509.UnrecognizedExtension:
    """Return dmvpn-ca's list of hubs: addresses, or DNS names in ASCII."""
    names = [encoded(IA5_STRING, host.encode("ascii")) for host in hosts]
    return _extension(HUB_HOSTS, encoded(SEQUENCE, *names))


def _extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _runs(networks: Sequence[Network], version: int) -> list[list[Network]]:
    """Return the networks of one version, those that are contiguous together."""
    runs: list[list[Network]] = []
    for network in networks:
        if network.version != version:
            continue
        if runs and int(runs[-1][-1].broadcast_address) + 1 == int(network.network_address):
            runs[-1].append(network)
        else:
            runs.append([network])
    return runs


def _run(networks: Sequence[Network]) -> bytes:
    first, last = networks[0], networks[-1]
    width = first.max_prefixlen
    if len(networks) == 1:
        return _bits(int(first.network_address), first.prefixlen, width)
    low, high = int(first.network_address), int(last.broadcast_address)
    zeros = (low & -low).bit_length() - 1 if low else width
    ones = (~high & high + 1).bit_length() - 1
    return encoded(SEQUENCE, _bits(low, width - zeros, width), _bits(high >> ones << ones, width - ones, width))


def _bits(value: int, length: int, width: int) -> bytes:
    """Return the first bits of an address as BIT STRING."""
    octets = (length + 7) // 8
    return encoded(BIT_STRING, bytes([8 * octets - length]), value.to_bytes(width // 8)[:octets])


def _integer(value: int) -> bytes:
    return encoded(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))
