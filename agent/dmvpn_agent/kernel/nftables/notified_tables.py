"""Which tables the kernel's notifications of changed rule sets are about."""

from collections.abc import Iterator
from struct import error as StructError
from struct import unpack_from

# linux/netlink.h: struct nlmsghdr; linux/netfilter/nfnetlink.h: struct nfgenmsg; struct nlattr.
_HEADER, _FAMILY, _ATTRIBUTE = "=IHHII", "=BBH", "=HH"
_HEADER_SIZE, _FAMILY_SIZE, _ATTRIBUTE_SIZE = 16, 4, 4
_SUBSYSTEM, _NEW_GENERATION = 10, 15  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN
_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
#: The table's name is attribute 1 of tables, chains, rules, sets, elements, objects and flow tables alike. In the
#: message that ends each transaction it is a number.
_NAME, _TYPE_MASK = 1, 0x3FFF


def concerns(table: str, datagram: bytes) -> bool:
    """Tell whether a datagram notifies of a change in a table (``inet NAME``); also if it cannot be read."""
    family, name = table.split()
    wanted = _FAMILIES[family], name.encode()
    try:
        return any(found == wanted for found in _tables(datagram))
    except (StructError, ValueError):
        return True


def _tables(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield family and name of each message's table. Raises ``ValueError``, ``struct.error``."""
    place = 0
    while place < len(datagram):
        length, kind, _, _, _ = unpack_from(_HEADER, datagram, place)
        end = place + length
        if length < _HEADER_SIZE or end > len(datagram):
            raise ValueError("a message has a wrong length")
        subsystem, message = divmod(kind, 256)
        if subsystem != _SUBSYSTEM:
            raise ValueError("a message is not about nftables")
        if message != _NEW_GENERATION:
            family, _, _ = unpack_from(_FAMILY, datagram, place + _HEADER_SIZE)
            yield family, _name(datagram[place + _HEADER_SIZE + _FAMILY_SIZE : end])
        place += _aligned(length)


def _name(attributes: bytes) -> bytes:
    place = 0
    while place < len(attributes):
        length, kind = unpack_from(_ATTRIBUTE, attributes, place)
        if length < _ATTRIBUTE_SIZE or place + length > len(attributes):
            raise ValueError("an attribute has a wrong length")
        if kind & _TYPE_MASK == _NAME:
            return attributes[place + _ATTRIBUTE_SIZE : place + length].rstrip(b"\0")
        place += _aligned(length)
    raise ValueError("a message names no table")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
