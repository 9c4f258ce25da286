"""Asks a target by way of one interface."""

import asyncio
import errno
import os
import socket
import struct

from dmvpn_agent.kernel.uplink.settings import ProbeProtocol, Target

SO_BINDTODEVICE = 25
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
#: What the network says of a target or an uplink; every other error is this node's own.
_UNREACHABLE = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.ENODEV,
        errno.EADDRNOTAVAIL,
        errno.ETIMEDOUT,
        errno.EINVAL,
    }
)


class ProbeImpossible(Exception):
    """This node cannot send such probes; that says nothing about the uplink. The text says what to do."""


async def probe(target: Target, interface: str, timeout: float) -> bool:
    """Tell whether a target answers by way of an interface within ``timeout`` seconds. Raises ``ProbeImpossible``."""
    try:
        async with asyncio.timeout(timeout):
            return await _PROBES[target.protocol](target, interface)
    except TimeoutError:
        return False
    except ConnectionRefusedError:
        return target.protocol is not ProbeProtocol.ICMP
    except PermissionError as error:
        hint = ""
        if target.protocol is ProbeProtocol.ICMP:
            hint = "; let sysctl net.ipv4.ping_group_range include the agent's group, or use tcp: targets"
        raise ProbeImpossible(f"{target} by way of {interface}: {error.strerror}{hint}") from error
    except OSError as error:
        if error.errno in _UNREACHABLE:
            return False
        raise ProbeImpossible(f"{target} by way of {interface}: {error.strerror}") from error


def _open(kind: int, protocol: int, interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    except OSError:
        opened.close()
        raise
    return opened


async def _icmp(target: Target, interface: str) -> bool:
    loop = asyncio.get_running_loop()
    # A ping socket: the kernel fills in identifier and checksum, and delivers the replies to this socket alone.
    with _open(socket.SOCK_DGRAM, socket.IPPROTO_ICMP, interface) as ping:
        ping.connect((str(target.address), 0))
        payload = os.urandom(16)
        await loop.sock_sendall(ping, struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 1) + payload)
        while True:
            reply = await loop.sock_recv(ping, 1500)
            if reply[:1] == bytes([_ECHO_REPLY]) and reply[8:] == payload:
                return True


async def _tcp(target: Target, interface: str) -> bool:
    with _open(socket.SOCK_STREAM, 0, interface) as connection:
        await asyncio.get_running_loop().sock_connect(connection, (str(target.address), target.port))
    return True


async def _udp(target: Target, interface: str) -> bool:
    loop = asyncio.get_running_loop()
    with _open(socket.SOCK_DGRAM, 0, interface) as datagrams:
        datagrams.connect((str(target.address), target.port))
        await loop.sock_sendall(datagrams, b"\0")
        await loop.sock_recv(datagrams, 1500)
    return True


_PROBES = {ProbeProtocol.ICMP: _icmp, ProbeProtocol.TCP: _tcp, ProbeProtocol.UDP: _udp}
