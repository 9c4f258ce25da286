"""Sends GRE packets without IPsec: a program of its own, which runs in a node.

Its arguments: the key; outer source and destination; how many of each; inner sources and destinations in pairs.
A raw socket with the IP header included is no GRE to the kernel's IPsec policies, so that no trap policy holds it.
"""

import socket
import struct
import sys
from ipaddress import ip_address

_ECHO, _ECHO_IPV6 = 8, 128


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - int(total)


def ip_packet(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """Return a packet of either IP version."""
    ends = ip_address(source).packed + ip_address(destination).packed
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + payload


def echo(source: str, destination: str) -> bytes:
    """Return an echo request."""
    ipv6 = ":" in source
    pseudo = ip_address(source).packed + ip_address(destination).packed + struct.pack("!II", 8, 58) if ipv6 else b""
    body = struct.pack("!BBHHH", _ECHO_IPV6 if ipv6 else _ECHO, 0, 0, 7, 7)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    return ip_packet(source, destination, 58 if ipv6 else 1, body)


def main(key: str, outer_source: str, outer_destination: str, count: str, *inner: str) -> None:
    """Send the packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for source, destination in zip(inner[::2], inner[1::2], strict=True):
            header = struct.pack("!HHI", 0x2000, 0x86DD if ":" in source else 0x0800, int(key))
            packet = ip_packet(outer_source, outer_destination, 47, header + echo(source, destination))
            for _ in range(int(count)):
                raw.sendto(packet, (outer_destination, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
