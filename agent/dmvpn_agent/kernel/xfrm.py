"""The kernel's IPsec SAs and policies as netlink messages (linux/xfrm.h, linux/netlink.h)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from dmvpn_agent.addresses import Address

NETLINK_XFRM = 6
IPPROTO_ESP, IPPROTO_GRE = 50, 47
XFRM_MODE_TRANSPORT = 0

_XFRM_MSG_NEWSA, _XFRM_MSG_DELSA, _XFRM_MSG_GETSA = 0x10, 0x11, 0x12
_XFRM_MSG_NEWPOLICY, _XFRM_MSG_DELPOLICY, _XFRM_MSG_GETPOLICY = 0x13, 0x14, 0x15
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300
_NLM_F_DUMP_INTR = 0x10
_XFRMA_ALG_CRYPT, _XFRMA_SRCADDR, _XFRMA_ALG_AEAD, _XFRMA_MARK = 2, 13, 18, 21
#: AF_INET and AF_INET6, and the bytes of an address.
_FAMILIES = {2: 4, 10: 16}

# struct nlmsghdr, nlattr. Of xfrm_usersa_info: sel, id (daddr, spi, proto), saddr, lft, curlft (bytes, packets,
# add_time, use_time), stats, seq, reqid, family, mode, and the rest.
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_STATE = struct.Struct("=56x16s4sB3x16s64x16xQ8x12x4xIHB9x")
# struct xfrm_usersa_id: daddr, spi, family, proto.
_STATE_ID = struct.Struct("=16s4sHBx")
_MARK = struct.Struct("=II")
# struct xfrm_selector: daddr, saddr, ports and their masks, family, prefixlen_d, prefixlen_s, proto, ifindex, user.
_SELECTOR = struct.Struct("=16s16s8xHBBB3xII")
# Of xfrm_userpolicy_info: sel, lft, curlft, priority, index, dir, and the rest. xfrm_userpolicy_id: sel, index, dir.
_POLICY = struct.Struct("=56s64x32x4xIB7x")
_POLICY_ID = struct.Struct("=56sIB3x")


class XfrmError(Exception):
    """The kernel refused a request, or answered with something else; the text says which."""


@dataclass(frozen=True, slots=True)
class KernelSa:
    """One direction of an SA, as the kernel has it. ``spi`` is as charon prints it: eight hexadecimal digits.

    ``added_at``: seconds since the epoch, by the clock of then. ``keyed``: it has an encryption algorithm; one that
    is being negotiated has none. ``mark``: the SA's mark and mask, which identify it together with the rest.
    """

    source: Address
    destination: Address
    protocol: int
    spi: str
    mode: int
    reqid: int
    added_at: int
    keyed: bool = False
    mark: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class KernelPolicy:
    """A policy for one protocol between two hosts. ``identity``: by which the kernel knows it."""

    source: Address
    destination: Address
    protocol: int
    identity: bytes


def list_request(sequence: int) -> bytes:
    """Return the request for all SAs."""
    return _HEADER.pack(_HEADER.size, _XFRM_MSG_GETSA, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0)


def list_policies_request(sequence: int) -> bytes:
    """Return the request for all policies."""
    return _HEADER.pack(_HEADER.size, _XFRM_MSG_GETPOLICY, _NLM_F_REQUEST | _NLM_F_DUMP, sequence, 0)


def delete_policy_request(policy: KernelPolicy, sequence: int) -> bytes:
    """Return the request to delete a policy."""
    size, flags = _HEADER.size + len(policy.identity), _NLM_F_REQUEST | _NLM_F_ACK
    return _HEADER.pack(size, _XFRM_MSG_DELPOLICY, flags, sequence, 0) + policy.identity


def delete_request(sa: KernelSa, sequence: int) -> bytes:
    """Return the request to delete an SA."""
    family = 2 if sa.destination.version == 4 else 10
    body = _STATE_ID.pack(_padded(sa.destination), bytes.fromhex(sa.spi), family, sa.protocol)
    body += _attribute(_XFRMA_SRCADDR, _padded(sa.source))
    if sa.mark is not None:
        body += _attribute(_XFRMA_MARK, _MARK.pack(*sa.mark))
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    return _HEADER.pack(_HEADER.size + len(body), _XFRM_MSG_DELSA, flags, sequence, 0) + body


class Answer:
    """The kernel's answer to one request, fed with datagrams until it is ``complete``.

    ``error``: the kernel's errno, 0 for success. ``interrupted``: SAs changed meanwhile, so the list may lack some.
    """

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self.sas: list[KernelSa] = []
        self.policies: list[KernelPolicy] = []
        self.error = 0
        self.complete = False
        self.interrupted = False

    def feed(self, datagram: bytes) -> None:
        """Read a datagram. Raises ``XfrmError``."""
        try:
            for kind, flags, body in _messages(datagram, self._sequence):
                self.interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind == _XFRM_MSG_NEWSA:
                    self.sas += _states(body)
                elif kind == _XFRM_MSG_NEWPOLICY:
                    self.policies += _policies(body)
                elif kind == _NLMSG_ERROR:
                    self.error, self.complete = -struct.unpack_from("=i", body)[0], True
                elif kind == _NLMSG_DONE:
                    self.complete = True
        except (struct.error, ValueError) as error:
            raise XfrmError(f"unexpected answer of the kernel about IPsec: {error}") from error


def _messages(datagram: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset < len(datagram):
        length, kind, flags, number, _ = _HEADER.unpack_from(datagram, offset)
        if not _HEADER.size <= length <= len(datagram) - offset:
            raise ValueError(f"a message of {length} bytes where {len(datagram) - offset} are left")
        if number == sequence:
            yield kind, flags, datagram[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _states(body: bytes) -> Iterator[KernelSa]:
    destination, spi, protocol, source, added_at, reqid, family, mode = _STATE.unpack_from(body)
    if family not in _FAMILIES:
        return
    size = _FAMILIES[family]
    attributes = dict(_attributes(body[_STATE.size :]))
    mark = _MARK.unpack_from(attributes[_XFRMA_MARK]) if _XFRMA_MARK in attributes else None
    keyed = not attributes.keys().isdisjoint({_XFRMA_ALG_CRYPT, _XFRMA_ALG_AEAD})
    yield KernelSa(
        ip_address(source[:size]),
        ip_address(destination[:size]),
        protocol,
        spi.hex(),
        mode,
        reqid,
        added_at,
        keyed,
        mark,
    )


def _policies(body: bytes) -> Iterator[KernelPolicy]:
    selector, _, direction = _POLICY.unpack_from(body)
    destination, source, family, length_d, length_s, protocol, *_ = _SELECTOR.unpack(selector)
    size = _FAMILIES.get(family, 0)
    if not size or {length_d, length_s} != {size * 8}:
        return
    mark = dict(_attributes(body[_POLICY.size :])).get(_XFRMA_MARK)
    identity = _POLICY_ID.pack(selector, 0, direction) + (_attribute(_XFRMA_MARK, mark) if mark else b"")
    yield KernelPolicy(ip_address(source[:size]), ip_address(destination[:size]), protocol, identity)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise ValueError(f"an attribute of {length} bytes where {len(data) - offset} are left")
        yield kind, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _padded(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")
