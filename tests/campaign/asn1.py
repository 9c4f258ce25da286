"""DER put together by hand, so that a world can hold what no library would sign. Nothing of the product is used."""

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

UTF8, PRINTABLE, IA5, BMP = 0x0C, 0x13, 0x16, 0x1E
NULL = b"\x05\x00"
OIDS = {"C": "2.5.4.6", "O": "2.5.4.10", "OU": "2.5.4.11", "CN": "2.5.4.3"}

Network = IPv4Network | IPv6Network


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def seq(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(0x30, *parts)


def integer(number: int) -> bytes:
    """Return an INTEGER, negative ones too."""
    return tlv(2, number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> bytes:
    """Return a BOOLEAN."""
    return tlv(1, b"\xff" if value else b"\x00")


def octets(value: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tlv(4, value)


def bits(value: bytes, spare: int = 0) -> bytes:
    """Return a BIT STRING whose last octet has ``spare`` unused bits."""
    return tlv(3, bytes([spare]) + value)


_CACHE: dict[str, bytes] = {}


def oid(text: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    if text not in _CACHE:
        first, second, *arcs = map(int, text.split("."))
        out = bytearray()
        for arc in (40 * first + second, *arcs):
            septets = [arc >> shift & 0x7F for shift in range(0, max(arc.bit_length(), 1), 7)][::-1]
            out += bytes(septet | 0x80 for septet in septets[:-1]) + bytes(septets[-1:])
        _CACHE[text] = tlv(6, bytes(out))
    return _CACHE[text]


def time(when: datetime) -> bytes:
    """Return a Time as RFC 5280, 4.1.2.5 wants it."""
    if when.year < 2050:
        return tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())


def name(*attributes: tuple[str, str, int]) -> bytes:
    """Return a Name of (type, value, string tag), an RDN each."""
    encoding = {BMP: "utf-16-be"}
    return seq(
        *(tlv(0x31, seq(oid(OIDS[kind]), tlv(tag, text.encode(encoding.get(tag, "utf-8")))))
          for kind, text, tag in attributes)
    )  # fmt: skip


def extension(kind: str, value: bytes, critical: bool = False) -> bytes:
    """Return an Extension."""
    return seq(oid(kind), boolean(True) if critical else b"", octets(value))


def _prefix(network: Network) -> bytes:
    length = network.prefixlen
    size = (length + 7) // 8
    return bits(network.network_address.packed[:size], size * 8 - length)


def ip_blocks(networks: tuple[Network, ...] | None) -> bytes:
    """Return IPAddrBlocks (RFC 3779, 2.2.3) of IPv4 prefixes, or ``inherit`` where there are none to name."""
    if networks is None:
        return seq(seq(octets(b"\x00\x01"), NULL))
    ordered = sorted(networks, key=lambda network: (network.network_address, network.prefixlen))
    return seq(seq(octets(b"\x00\x01"), seq(*map(_prefix, ordered))))


def as_identifiers(ranges: tuple[tuple[int, int], ...] | None) -> bytes:
    """Return ASIdentifiers (RFC 3779, 3.2.3), or ``inherit``."""
    if ranges is None:
        return seq(tlv(0xA0, NULL))
    items = (integer(low) if low == high else seq(integer(low), integer(high)) for low, high in sorted(ranges))
    return seq(tlv(0xA0, seq(*items)))
