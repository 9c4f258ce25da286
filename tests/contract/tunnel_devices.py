"""Point-to-point interfaces that come and go, as ``ppp0`` and ``wwan0`` do."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.namespaces import command

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

has_tun = pytest.mark.skipif(
    not Path("/dev/net/tun").is_char_device() or os.geteuid() != 0, reason="needs root and /dev/net/tun"
)


@contextmanager
def point_to_point(name: str, local: str = "", peer: str = "") -> Iterator[None]:
    """Make an interface with a carrier, and give it an address as pppd or ModemManager does; delete it at the end.

    The kernel deletes it with the descriptor, so each has an index of its own, as each connection of a modem has.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        command("ip", "link", "set", name, "up")
        if local:
            command("ip", "address", "add", local, *(("peer", peer) if peer else ()), "dev", name)
        yield
    finally:
        os.close(descriptor)
