"""Ethernet frames with one packet each."""

from ipaddress import ip_address

ROUTER_MAC = bytes.fromhex("020000000001")
UNASSIGNED, NO_NEXT_HEADER = 0xFD, 0x3B


def frame_ipv4(source: str, destination: str, mac: bytes, protocol: int = UNASSIGNED) -> bytes:
    """Return a frame from this MAC address with a packet without content."""
    header = bytearray.fromhex("4500 0018 0000 0000 4000 0000") + ip_address(source).packed
    header += ip_address(destination).packed
    header[9] = protocol
    total = sum(header[at] << 8 | header[at + 1] for at in range(0, len(header), 2))
    header[10:12] = (0xFFFF - (total % 0xFFFF)).to_bytes(2, "big")
    return ROUTER_MAC + mac + b"\x08\x00" + bytes(header) + bytes.fromhex("00000800")


def frame_ipv6(source: str, destination: str, mac: bytes, next_header: int = NO_NEXT_HEADER) -> bytes:
    """Return a frame from this MAC address with a packet without content."""
    header = bytes.fromhex("60000000 0000") + bytes((next_header, 64))
    return ROUTER_MAC + mac + b"\x86\xdd" + header + ip_address(source).packed + ip_address(destination).packed
