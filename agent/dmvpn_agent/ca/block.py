"""What the registry hands out, as blocks on one line: tunnel addresses, prefixes of sites, AS numbers.

Each kind and IP version has a lane of its own on the line, so that one rule holds for all of them: blocks that were
handed out do not overlap. The database keeps that rule (``schema``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS, Address, AsRange, Network
from dmvpn_agent.x509.claims import is_plain


class Kind(StrEnum):
    """What a block consists of."""

    #: Protocol addresses: the tunnel networks are the pools.
    ADDRESS = "address"
    #: Networks behind sites.
    PREFIX = "prefix"
    AS_NUMBER = "as_number"


_LANES = ((Kind.ADDRESS, 4), (Kind.ADDRESS, 6), (Kind.PREFIX, 4), (Kind.PREFIX, 6), (Kind.AS_NUMBER, 0))
_LANE_BITS = 128
#: Hexadecimal digits of the last position on the line.
POSITION_DIGITS = (_LANE_BITS + 3) // 4 + 1


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """Addresses or numbers from ``low`` to ``high``, both included. ``version`` is 4 or 6, and 0 for AS numbers."""

    kind: Kind
    version: int
    low: int
    high: int

    @classmethod
    def of_network(cls, kind: Kind, network: Network) -> Self:
        """Return a network as a block of addresses or of prefixes."""
        return cls(kind, network.version, int(network.network_address), int(network.broadcast_address))

    @classmethod
    def of_address(cls, address: Address) -> Self:
        """Return one protocol address as a block."""
        return cls(Kind.ADDRESS, address.version, int(address), int(address))

    @classmethod
    def of_as_numbers(cls, numbers: AsRange) -> Self:
        """Return a range of AS numbers as a block."""
        return cls(Kind.AS_NUMBER, 0, numbers.low, numbers.high)

    @property
    def start(self) -> int:
        """Return the position of the first one on the line."""
        return (_LANES.index((self.kind, self.version)) << _LANE_BITS) + self.low

    @property
    def stop(self) -> int:
        """Return the position of the last one on the line."""
        return (_LANES.index((self.kind, self.version)) << _LANE_BITS) + self.high

    @property
    def network(self) -> Network:
        """Return the block as a network, which it must be."""
        width = 32 if self.version == 4 else 128
        length = width - (self.high - self.low).bit_length()
        return IPv4Network((self.low, length)) if self.version == 4 else IPv6Network((self.low, length))

    def __str__(self) -> str:
        if self.kind is Kind.AS_NUMBER:
            return str(AsRange(self.low, self.high))
        network = self.network
        return str(network.network_address if network.prefixlen == network.max_prefixlen else network)

    def overlaps(self, other: "Block") -> bool:
        """Tell whether both have a position in common."""
        return self.start <= other.stop and other.start <= self.stop

    def is_within(self, outer: "Block") -> bool:
        """Tell whether it lies in another one of its lane."""
        return outer.start <= self.start and self.stop <= outer.stop


def block_at(start: int, stop: int) -> Block:
    """Return the block with these positions on the line."""
    kind, version = _LANES[start >> _LANE_BITS]
    mask = (1 << _LANE_BITS) - 1
    return Block(kind, version, start & mask, stop & mask)


def parse_network(text: str) -> Network:
    """Return a network from text, without host bits. Raises ``ValueError``."""
    network = ip_network(text)
    if not is_plain(network.network_address):
        raise ValueError("an IPv4-mapped IPv6 network")
    return network


def parse_as_range(text: str) -> AsRange:
    """Return a range of AS numbers, ``64512-65534``, or one number. Raises ``ValueError``."""
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdecimal() and (not dash or (last.isascii() and last.isdecimal()))):
        raise ValueError("not an AS number")
    found = AsRange(int(first), int(last) if dash else int(first))
    if not 0 < found.low <= found.high < 2**32 - 1:
        raise ValueError("AS numbers are from 1 to 4294967294, the lower one first")
    return found


def is_usable(pool: Block, value: int) -> bool:
    """Tell whether a single address or AS number of a pool can be given to a node.

    The Judge denies the first address of a network, the broadcast address, and reserved AS numbers.
    """
    if pool.kind is Kind.AS_NUMBER:
        return value not in RESERVED_AS_NUMBERS
    if pool.kind is Kind.ADDRESS and pool.high - pool.low > 1:
        return value != pool.low and not (pool.version == 4 and value == pool.high)
    return True


def first_free(pool: Block, size: int, taken: Iterable[Block], at_least: int = 0) -> Block | None:
    """Return the first free block of this size in a pool, from ``at_least`` on; ``None`` if there is none.

    ``size`` is a power of two, and the block is aligned to it. ``taken``: the blocks that overlap the pool, in
    ascending order, without overlaps among each other.
    """
    low = max(pool.low, at_least)
    blocks = iter(taken)
    following = next(blocks, None)
    while True:
        low = -(-low // size) * size
        if size == 1 and not is_usable(pool, low) and low <= pool.high:
            low += 1
            continue
        if low + size - 1 > pool.high:
            return None
        while following is not None and following.high < low:
            following = next(blocks, None)
        if following is None or low + size - 1 < following.low:
            return Block(pool.kind, pool.version, low, low + size - 1)
        low = following.high + 1
