"""The source filter: which source addresses each peer may put into the tunnel.

The kernel has no such filter: a peer with a tunnel can send packets with any source. A GRE packet's NBMA address is
proven by its IPsec SA, but is gone when the kernel takes the inner packet out. So the outer packet gets a mark, which
the kernel leaves on the inner packet, and the inner packet's mark and source must be in a set. The mark is taken off
again there. docs/source-filter.md has the reasons.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import TypeVar

from dmvpn_agent.addresses import IP_VERSIONS, Address, Network, covers
from dmvpn_agent.kernel.nftables.section import RECEIVED_IN_VRF, Elements, Owner, Section, SectionName, element
from dmvpn_agent.policy.peer import Peer

T = TypeVar("T")

RECEIVED, SPOOFED = "received", "spoofed"
#: The counter of packets that no peer's NBMA address sent.
UNKNOWN_COUNTER = "unknown_senders"
#: The maps that assign the marks; what is in them decides which marks are desired.
MAPS = ("nbma4", "nbma6")
_ALL_BITS = 0xFFFFFFFF
_LINK_LOCAL = ip_network("fe80::/10")
_FAMILIES = {4: "ip", 6: "ip6"}
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}


def suffixes(interfaces: tuple[str, ...]) -> dict[str, str]:
    """Return what ends the names of each interface's sets: its name, unless nft does not allow that."""
    return {
        name: name if re.fullmatch(r"[A-Za-z0-9_]+", name) else f"tunnel-{number}"
        for number, name in enumerate(interfaces, 1)
    }


class FilterMode(StrEnum):
    """What happens to packets with a source that their peer may not use."""

    OFF = "off"
    COUNT = "count"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """``mode`` is never ``OFF``. ``mark_mask``: the adjacent bits of the packet mark that the filter uses."""

    mode: FilterMode
    mark_mask: int

    @property
    def step(self) -> int:
        """Return the lowest mark; the others are its multiples."""
        return self.mark_mask & -self.mark_mask

    @property
    def marks(self) -> range:
        """Return all marks; 0 is that of a packet from nobody."""
        return range(self.step, self.mark_mask + 1, self.step)


def with_restrictions(peers: Iterable[Peer], absent: Collection[Address]) -> tuple[Peer, ...]:
    """Return the accepted peers, those in quarantine that may not send.

    A peer that has left stays accepted for a while. It may not send if another peer has its NBMA address now: the
    mark would be that peer's too.
    """
    peers = tuple(peers)
    present = defaultdict(set)
    for peer in peers:
        if peer.protocol_address not in absent:
            present[peer.nbma_address].add(peer.identity)
    return tuple(
        peer
        if peer.protocol_address not in absent or present.get(peer.nbma_address, set()) <= {peer.identity}
        else peer.in_quarantine()
        for peer in peers
    )


def sources(peer: Peer) -> frozenset[Network]:
    """Return the networks of the source addresses that a peer may use.

    A quarantined peer may use none. A peer with ``transit``, as a hub, carries the packets of others.
    """
    if peer.quarantined:
        return frozenset()
    own = ip_network(peer.protocol_address)
    networks = [network for network, _ in peer.announces]
    if peer.transit is not None and peer.default_route:
        networks += [ip_network("0.0.0.0/0"), ip_network("::/0")]
    allowed = (rest for network in networks for rest in _without(network, peer.withheld))
    return frozenset({own, _LINK_LOCAL, *allowed})


def carries(peer: Peer) -> bool:
    """Tell whether a peer's sources may contain this node's own addresses, which it may never use."""
    return peer.transit is not None or any(prefix.prefixlen == 0 for prefix in peer.prefixes)


def assign_marks(
    senders: Iterable[Address], others: Iterable[Address], present: Elements, settings: SourceFilter
) -> tuple[Mapping[Address, int], tuple[Address, ...]]:
    """Return the mark of each NBMA address, and the senders for which none is left; ``others`` get what is left.

    An address keeps its present mark, so that packets under way stay marked. A mark that another address has now is
    given to a new one only if no other is left.
    """
    now = {
        ip_address(key): int(mark)
        for name in MAPS
        for key, _, mark in (text.partition(" : ") for text in present.get(name, ()))
    }
    marks: dict[Address, int] = {}
    unmarked: list[tuple[Address, ...]] = []
    for addresses in (senders, others):
        wanted = sorted(set(addresses) - marks.keys(), key=lambda address: (address.version, address))
        used = set(marks.values())
        for address in wanted:
            mark = now.get(address)
            if mark is not None and mark in settings.marks and mark not in used:
                marks[address] = mark
                used.add(mark)
        free = _free(settings, frozenset(used), frozenset(now.values()))
        marks |= dict(zip([address for address in wanted if address not in marks], free, strict=False))
        unmarked.append(tuple(address for address in wanted if address not in marks))
    return marks, unmarked[0]


def _free(settings: SourceFilter, used: Collection[int], known: Collection[int]) -> Iterator[int]:
    yield from (mark for mark in settings.marks if mark not in known and mark not in used)
    yield from (mark for mark in settings.marks if mark in known and mark not in used)


@dataclass(slots=True)
class _Elements:
    """The elements of the filter's sets while they are collected, and whose packets each counts."""

    elements: dict[str, set[str]]
    owners: dict[tuple[str, str], Owner] = field(default_factory=dict)

    def add(self, name: str, text: str, owner: Owner | None = None) -> None:
        self.elements[name].add(text)
        if owner:
            self.owners.setdefault((name, text), owner)


def source_filter_section(
    settings: SourceFilter, interfaces: tuple[str, ...], peers: Iterable[Peer], present: Elements
) -> Section:
    """Return the filter for these peers; ``present``: the table's elements now."""
    # In order, so that of peers with one mark always the same one owns what it counts; one that may send, if any.
    peers = sorted((peer for peer in peers if peer.interface in interfaces), key=_order)
    tunnels = suffixes(interfaces)
    senders, others = ([peer.nbma_address for peer in peers if peer.quarantined is one] for one in (False, True))
    marks, unmarked = assign_marks(senders, others, present, settings)
    collected = _Elements({name: set() for name in (*MAPS, "senders", *_all_sets(tunnels))})
    for address, mark in marks.items():
        collected.add(f"nbma{address.version}", element(address, value=mark))
    for (name, mark), networks in _by_set(tunnels, peers, marks).items():
        for network, peer in outermost(networks).items():
            collected.add(name, element(mark, network), Owner(RECEIVED, peer.protocol_address))
    for peer in peers:
        if peer.nbma_address in marks:
            collected.add("senders", element(marks[peer.nbma_address]), Owner(SPOOFED, peer.protocol_address))
    return Section(
        SectionName.SOURCE_FILTER,
        _body(settings, tunnels),
        {name: frozenset(texts) for name, texts in collected.elements.items()},
        _late(settings),
        collected.owners,
        tuple(
            f"no mark is left for NBMA address {address}: make source_filter.mark_mask wider" for address in unmarked
        ),
    )


def _order(peer: Peer) -> tuple[bool, int, int]:
    return peer.quarantined, peer.protocol_address.version, int(peer.protocol_address)


def _by_set(
    tunnels: Mapping[str, str], peers: Iterable[Peer], marks: Mapping[Address, int]
) -> dict[tuple[str, int], dict[Network, Peer]]:
    """Return the networks of each set and mark, each with the first peer that may use it."""
    found: dict[tuple[str, int], dict[Network, Peer]] = defaultdict(dict)
    for peer in peers:
        mark = marks.get(peer.nbma_address)
        if mark is None:
            continue
        kind = "carried" if carries(peer) else "sources"
        for network in sources(peer):
            found[f"{kind}{network.version}_{tunnels[peer.interface]}", mark].setdefault(network, peer)
    return found


def outermost(networks: Mapping[Network, T]) -> dict[Network, T]:
    """Return the networks that lie in no other one: the kernel refuses elements that overlap."""
    found: dict[Network, T] = {}
    last: Network | None = None
    for network in sorted(networks, key=lambda one: (int(one.network_address), one.prefixlen)):
        if last is None or not covers(last, network):
            found[network], last = networks[network], network
    return found


def _without(network: Network, withheld: Iterable[Network]) -> tuple[Network, ...]:
    """Return what of a network lies in none of the withheld ones."""
    rest: tuple[Network, ...] = (network,)
    for hole in withheld:
        rest = tuple(part for one in rest for part in _exclude(one, hole))
    return rest


def _exclude(network: Network, hole: Network) -> Iterable[Network]:
    if covers(hole, network):
        return ()
    return network.address_exclude(hole) if covers(network, hole) else (network,)  # type: ignore[arg-type]


def _source_sets(suffix: str) -> dict[str, int]:
    """Return the names of an interface's sets, each with the IP version of its addresses."""
    return {f"{kind}{version}_{suffix}": version for kind in ("sources", "carried") for version in IP_VERSIONS}


def _all_sets(tunnels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for suffix in tunnels.values() for name in _source_sets(suffix))


def _body(settings: SourceFilter, tunnels: Mapping[str, str]) -> str:
    """Return the sets and chains. Packets of a tunnel are not marked: GRE inside it is the peer's own.

    The mark comes in the last place before GRE is taken off, and is looked up in the first one after that, before
    connection tracking joins the fragments of different peers: no other program's chain sees or changes it.
    """
    mask, rest = f"{settings.mark_mask:#x}", f"{settings.mark_mask ^ _ALL_BITS:#x}"
    names = ", ".join(f'"{name}"' for name in tunnels)
    jumps = "\n".join(f'    iifname "{name}" jump sources_{suffix}' for name, suffix in tunnels.items())
    maps = "".join(f"  map nbma{version} {{\n    type {_TYPES[version]} : mark\n  }}\n" for version in IP_VERSIONS)
    return f"""\
{maps}  set senders {{
    type mark
    counter
  }}
  counter {UNKNOWN_COUNTER} {{
  }}
  chain mark_peers {{
    type filter hook input priority 500; policy accept;
    meta l4proto gre meta mark set meta mark & {rest}
    iifname {{ {names} }} return
    {RECEIVED_IN_VRF} {{ {names} }} return
    meta l4proto gre meta mark set ip saddr map @nbma4
    meta l4proto gre meta mark set ip6 saddr map @nbma6
  }}
  chain spoofed {{
  }}
{"".join(_interface(suffix, mask, rest) for suffix in tunnels.values())}\
  chain source_filter {{
    type filter hook prerouting priority -500; policy accept;
{jumps}
  }}
"""


def _late(settings: SourceFilter) -> str:
    """Return the rules for packets with a source that their peer may not use."""
    mask = f"{settings.mark_mask:#x}"
    enforcing = settings.mode is FilterMode.ENFORCE
    verdict = "drop" if enforcing else f"meta mark set meta mark & {settings.mark_mask ^ _ALL_BITS:#x}"
    rule = "add rule inet dmvpn_agent spoofed"
    return (
        f"{rule} meta mark & {mask} == @senders {verdict}{'' if enforcing else ' return'}\n"
        f"{rule} counter name {UNKNOWN_COUNTER} {verdict}\n"
    )


def _interface(suffix: str, mask: str, rest: str) -> str:
    names = _source_sets(suffix)
    sets = "".join(
        f"  set {name} {{\n    type mark . {_TYPES[version]}\n    flags interval\n    counter\n  }}\n"
        for name, version in names.items()
    )
    rules = "".join(
        # First the condition: a lookup counts its element.
        f"    {'fib saddr type != local ' if name.startswith('carried') else ''}"
        f"meta mark & {mask} . {_FAMILIES[version]} saddr @{name} meta mark set meta mark & {rest} return\n"
        for name, version in names.items()
    )
    return f"{sets}  chain sources_{suffix} {{\n{rules}    goto spoofed\n  }}\n"
