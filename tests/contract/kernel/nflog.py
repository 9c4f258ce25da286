"""A reader of an NFLOG group, as nhrpd is one."""

import socket
import struct
from typing import NamedTuple, Self

# linux/netfilter/nfnetlink.h, nfnetlink_log.h
NETLINK_NETFILTER = 12
_PACKET, _CONFIG = 4 << 8, 4 << 8 | 1
_CMD, _BIND = 1, 1
_OUTDEV, _PAYLOAD = 5, 9


class Logged(NamedTuple):
    """A packet, cut to the snaplen, and the interface that it was about to leave by; 0 for none."""

    out: int
    packet: bytes

    @property
    def source(self) -> bytes:
        """Return the source address."""
        return self.packet[12:16] if self.packet[0] >> 4 == 4 else self.packet[8:24]


class NflogGroup:
    """Reads the packets of a group, with the settings that nhrpd leaves as they are."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)

    def __enter__(self) -> Self:
        attribute = struct.pack("=HHB3x", 5, _CMD, _BIND)
        body = struct.pack("!BBH", 0, 0, self._group) + attribute
        self._socket.bind((0, 0))
        self._socket.send(struct.pack("=IHHII", 16 + len(body), _CONFIG, 5, 1, 0) + body)  # REQUEST | ACK
        answer = self._socket.recv(4096)
        assert struct.unpack_from("=i", answer, 16) == (0,), "the group has a reader"
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[Logged]:
        """Return the packets that have arrived."""
        found: list[Logged] = []
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _PACKET:
                    found.append(_logged(data[at + 20 : at + length]))
                at += length + 3 & ~3


def _logged(data: bytes) -> Logged:
    out, packet, at = 0, b"", 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        value = data[at + 4 : at + length]
        if kind == _OUTDEV:
            out = int.from_bytes(value, "big")
        elif kind == _PAYLOAD:
            packet = value
        at += length + 3 & ~3
    return Logged(out, packet)
