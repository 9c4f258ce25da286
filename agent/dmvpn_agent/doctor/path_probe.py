"""Probes how large packets to each peer may be, and where larger ones are lost.

ICMP echo requests with DF, which ignore the path MTU that the kernel learned (IP_PMTUDISC_PROBE). All sizes are sent
at once, a second round is finer, and a third looks at the path: that takes 4 s at most, for all peers together.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from dmvpn_agent.doctor.node import PathProbe
from dmvpn_agent.kernel.links.mtu import EspSizes, outer_size

#: linux/in.h
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_ECHO_REPLY, _UNREACHABLE, _ECHO_REQUEST, _TIME_EXCEEDED = 0, 3, 8, 11
_TOO_BIG = 4
_HEADERS = 28  # IPv4 and ICMP
#: Seconds to wait for answers; how often each packet is sent; the most hops and peers that are probed.
WAIT, TIMES, HOPS, PEERS = 1.2, 2, 16, 64
SMALLEST = 576
_COARSE = (576, 1000, 1200, 1280, 1300, 1350, 1372, 1392, 1400, 1414, 1422, 1430, 1438)


@dataclass(frozen=True, slots=True)
class Target:
    """A peer: its protocol address through a tunnel interface of this MTU, and its NBMA address.

    ``udp``: ESP goes through a NAT. ``key``: the tunnel has a key. ``device``: the uplink or VRF that the tunnel is
    bound to, if any.
    """

    interface: str
    mtu: int
    peer: IPv4Address
    nbma: IPv4Address
    esp: EspSizes
    udp: bool
    key: bool = True
    device: str = ""


@dataclass(slots=True)
class _Packet:
    """An echo request, and who answered it with what: the ICMP type and code."""

    size: int
    ttl: int
    answer: tuple[int, int] | None = None
    sender: IPv4Address | None = None
    next_mtu: int = 0


async def probe(targets: Iterable[Target]) -> tuple[PathProbe, ...]:
    """Probe all peers at once. Raises ``OSError`` without permission to send ICMP packets."""
    chosen = list(targets)[:PEERS]
    return tuple(await asyncio.gather(*(_probe(target) for target in chosen)))


async def _probe(target: Target) -> PathProbe:
    sizes = sorted({*(size for size in _COARSE if size < target.mtu), target.mtu})
    largest, lost = await _bounds(target, [84, *sizes])
    if largest is None or lost is None:
        return PathProbe(target.interface, str(target.peer), target.mtu, largest)
    step = max((lost - largest) // 32, 1)
    finer, finer_lost = await _bounds(target, range(largest, lost, step))
    where = await _where(target, outer_size(finer_lost or lost, target.esp, udp=target.udp, key=target.key))
    return PathProbe(target.interface, str(target.peer), target.mtu, finer or largest, where)


async def _bounds(target: Target, sizes: Iterable[int]) -> tuple[int | None, int | None]:
    """Return the largest of these sizes that was answered, and the smallest above it that was not."""
    packets = [_Packet(size, 64) for size in sizes]
    await _exchange(target.peer, packets, target.interface)
    largest = max((one.size for one in packets if one.answer == (_ECHO_REPLY, 0)), default=None)
    return largest, min((one.size for one in packets if one.size > (largest or 0)), default=None)


async def _where(target: Target, size: int) -> str:
    """Return where packets of this size are lost between the NBMA addresses."""
    whole = _Packet(size, 64)
    large = [_Packet(size, hop) for hop in range(1, HOPS + 1)]
    small = [_Packet(84, hop) for hop in range(1, HOPS + 1)]
    await _exchange(target.nbma, [whole, *large, *small], target.device)
    if whole.answer == (_ECHO_REPLY, 0):
        return (
            f"although {size} bytes reach {target.nbma}: a firewall at one of the two nodes, or another path for ESP"
        )
    for one in (whole, *large):
        if one.answer == (_UNREACHABLE, _TOO_BIG):
            limit = f", whose next link takes {one.next_mtu} bytes" if one.next_mtu else ""
            return f"at {one.sender or 'this node'}{limit}"
    passed = [one for one in large if one.sender is not None]
    if passed:
        last = max(passed, key=lambda one: one.ttl)
        return f"without a word behind {last.sender}, hop {last.ttl} to {target.nbma}"
    if any(one.sender is not None for one in small):
        return f"without a word before the first hop to {target.nbma}"
    return f"on the way to {target.nbma}, which answers no ping"


async def _exchange(target: IPv4Address, packets: list[_Packet], interface: str) -> None:
    """Send the packets and note their answers."""
    identifier = struct.unpack("!H", os.urandom(2))[0]
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as echo:
        echo.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        echo.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if interface:
            echo.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        for _ in range(TIMES):
            for number, packet in enumerate(packets):
                _send(echo, target, packet, identifier, number)
            try:
                async with asyncio.timeout(WAIT / TIMES):
                    while any(packet.answer is None for packet in packets):
                        data, sender = await asyncio.get_running_loop().sock_recvfrom(echo, 65536)
                        _receive(data, IPv4Address(sender[0]), packets, identifier)
            except TimeoutError:
                continue


def _send(echo: socket.socket, target: IPv4Address, packet: _Packet, identifier: int, number: int) -> None:
    if packet.answer is not None:
        return
    body = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, number) + bytes(packet.size - _HEADERS)
    echo.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, packet.ttl)
    try:
        echo.sendto(body[:2] + struct.pack("!H", _checksum(body)) + body[4:], (str(target), 0))
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            packet.answer = (_UNREACHABLE, _TOO_BIG)
        elif error.errno not in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOBUFS, errno.EAGAIN, errno.EPERM}:
            raise


def _receive(data: bytes, sender: IPv4Address, packets: list[_Packet], identifier: int) -> None:
    """Note an answer to one of the packets; ignore everything else that the socket receives."""
    message = data[(data[0] & 15) * 4 :] if data else b""
    if len(message) < 8:
        return
    kind, code, next_mtu = message[0], message[1], struct.unpack_from("!H", message, 6)[0]
    if kind in {_UNREACHABLE, _TIME_EXCEEDED}:  # the packet that it is about follows, with its IP header
        inner = message[8:]
        message = inner[(inner[0] & 15) * 4 :] if inner else b""
    elif kind != _ECHO_REPLY:
        return
    if len(message) < 8 or struct.unpack_from("!H", message, 4)[0] != identifier:
        return
    number = struct.unpack_from("!H", message, 6)[0]
    if number < len(packets):
        packet = packets[number]
        packet.answer, packet.sender = (kind, code), sender
        packet.next_mtu = next_mtu if (kind, code) == (_UNREACHABLE, _TOO_BIG) else 0


def _checksum(body: bytes) -> int:
    padded = body + bytes(len(body) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
