"""The local address of a GRE interface, by the kernel's tunnel ioctls (linux/if_tunnel.h).

They change this one field and keep all others, where a netlink message resets what it does not repeat.
"""

import ctypes
import fcntl
import socket
import struct
from ipaddress import IPv4Address

_SIOCGETTUNNEL, _SIOCCHGTUNNEL = 0x89F0, 0x89F3
_IFNAMSIZ = 16
#: struct ip_tunnel_parm: name, link, i_flags, o_flags, i_key, o_key, and an IPv4 header.
_PARAMETERS_SIZE = 52
_SOURCE = slice(44, 48)  # iph.saddr
#: struct ifreq: name, and a union of 24 or 16 bytes whose member ifr_data points to the parameters.
_REQUEST = struct.Struct("@16sP16x" if struct.calcsize("P") == 8 else "@16sP12x")


class TunnelError(Exception):
    """The kernel refused; the text names the interface and what to do."""


def read_local(interface: str) -> IPv4Address | None:
    """Return the local address of a GRE interface, ``None`` if it has none. Raises ``TunnelError``."""
    address = IPv4Address(bytes(_call(interface, _SIOCGETTUNNEL, bytearray(_PARAMETERS_SIZE))[_SOURCE]))
    return None if address.is_unspecified else address


def set_local(interface: str, address: IPv4Address) -> None:
    """Change the local address of a GRE interface. Raises ``TunnelError``."""
    parameters = _call(interface, _SIOCGETTUNNEL, bytearray(_PARAMETERS_SIZE))
    parameters[_SOURCE] = address.packed
    _call(interface, _SIOCCHGTUNNEL, parameters)


def _call(interface: str, request: int, parameters: bytearray) -> bytearray:
    buffer = ctypes.create_string_buffer(bytes(parameters), len(parameters))
    name = interface.encode().ljust(_IFNAMSIZ, b"\0")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
            fcntl.ioctl(any_socket, request, _REQUEST.pack(name, ctypes.addressof(buffer)))
    except PermissionError as error:
        raise TunnelError(f"{interface}: {error.strerror}; give the agent CAP_NET_ADMIN") from error
    except OSError as error:
        raise TunnelError(f"{interface} is no IPv4 GRE interface, or is gone: {error.strerror}") from error
    return bytearray(buffer.raw)
