"""Addresses, networks and AS numbers."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


#: The versions of protocol addresses; nhrpd keeps a table for each.
IP_VERSIONS = (4, 6)


class AsRange(NamedTuple):
    """AS numbers from ``low`` to ``high``, both included; usually one number."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


#: RFC 7607 (0), RFC 6793 (AS_TRANS), RFC 7300 (the last one of 16 and of 32 bits).
RESERVED_AS_NUMBERS = frozenset({0, 23456, 65535, 4294967295})


def covers(outer: Network, inner: Network) -> bool:
    """Tell whether one network lies in another. (``subnet_of`` is slower, and caches objects in both.)"""
    if outer.version != inner.version or inner.prefixlen < outer.prefixlen:
        return False
    differing = int(outer.network_address) ^ int(inner.network_address)
    return differing >> (outer.max_prefixlen - outer.prefixlen) == 0


def overlap(one: Network, other: Network) -> bool:
    """Tell whether two networks have an address in common."""
    return covers(one, other) or covers(other, one)


def contains(networks: tuple[Network, ...], address: Address) -> bool:
    """Tell whether an address lies in one of the networks."""
    return any(address in network for network in networks)
