"""The source filter's sets accept exactly what an oracle allows, also while a change is being applied."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import collapse_addresses, ip_address, ip_network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address, Network, overlap
from dmvpn_agent.kernel.nftables.group_rules import groups_section
from dmvpn_agent.kernel.nftables.plan import ChangeElements, changed_elements
from dmvpn_agent.kernel.nftables.section import Elements
from dmvpn_agent.kernel.nftables.source_filter import (
    FilterMode,
    SourceFilter,
    source_filter_section,
    with_restrictions,
)
from dmvpn_agent.policy.groups import Group, GroupRule, Groups
from dmvpn_agent.policy.peer import Peer

INTERFACES = ("gre1", "gre-2")
SETTINGS = SourceFilter(FilterMode.ENFORCE, 0xFFFF0000)
#: A mask with a mark for each NBMA address and one more.
NARROW = SourceFilter(FilterMode.ENFORCE, 0x70)
OWN = frozenset({ip_address("10.255.0.1"), ip_address("192.168.3.1"), ip_address("2001:db8:3::1")})
NBMA = [ip_address(text) for text in ("203.0.113.1", "203.0.113.2", "2001:db8:ffff::1", "203.0.113.9")]
PROTOCOL = [ip_address(text) for text in ("10.255.0.2", "10.255.0.3", "10.255.0.4", "2001:db8:255::2")]
NETWORKS = [
    ip_network(text)
    for text in (
        "192.168.0.0/16", "192.168.2.0/24", "192.168.2.128/25", "192.168.3.0/24", "10.255.0.0/24", "0.0.0.0/0",
        "2001:db8::/32", "2001:db8:2::/48", "2001:db8:3::/48", "::/0", "192.168.2.7/32",
    )
]  # fmt: skip
SOURCES = sorted(
    {
        *OWN, *PROTOCOL, *(network[at] for network in NETWORKS for at in (0, -1)),
        ip_address("8.8.8.8"), ip_address("fe80::5"), ip_address("192.168.2.127"),
    },
    key=lambda one: (one.version, one),
)  # fmt: skip

networks = st.lists(st.sampled_from(NETWORKS), max_size=3, unique=True).map(tuple)


@st.composite
def _peer(draw: st.DrawFn, protocol_address: Address) -> Peer:
    transit = draw(st.none() | networks.map(lambda found: tuple((one, one.max_prefixlen) for one in found)))
    return Peer(
        protocol_address=protocol_address,
        nbma_address=draw(st.sampled_from(NBMA)),
        interface=draw(st.sampled_from(INTERFACES)),
        as_number=None,
        prefixes=draw(networks),
        fingerprint="",
        subject="",
        not_after=None,
        identity=draw(st.sampled_from(["a", "b"])),
        quarantined=draw(st.booleans()),
        transit=transit,
        withheld=draw(networks),
        default_route=draw(st.booleans()),
    )


worlds = st.tuples(*(st.none() | _peer(address) for address in PROTOCOL)).map(
    lambda found: tuple(peer for peer in found if peer)
)
absences = st.sets(st.sampled_from(PROTOCOL))


def _allows(peer: Peer, source: Address) -> bool:
    """The rule in words: what it may announce and not what is withheld from it, its own address, link-local ones."""
    if peer.quarantined:
        return False
    if source == peer.protocol_address or (source.version == 6 and source.is_link_local):
        return True
    announced: Iterable[Network] = peer.prefixes
    everything = False
    if peer.transit is not None:
        announced = [network for network, _ in peer.transit]
        everything = peer.default_route
    carries = peer.transit is not None or any(network.prefixlen == 0 for network in peer.prefixes)
    if carries and source in OWN:
        return False
    if any(source in network for network in peer.withheld):
        return False
    return everything or any(source in network for network in announced)


def _oracle(peers: Iterable[Peer], interface: str, nbma_address: Address, source: Address) -> bool:
    return any(
        _allows(peer, source)
        for peer in peers
        if (peer.nbma_address, peer.interface) == (nbma_address, interface)
    )  # fmt: skip


def _kernel(elements: Elements, interface: str, nbma_address: Address, source: Address) -> bool:
    """What the chains do with a packet, by the elements."""
    suffix = {"gre1": "gre1", "gre-2": "tunnel-2"}[interface]
    marks = dict(text.split(" : ") for text in elements.get(f"nbma{nbma_address.version}", ()))
    mark = marks.get(str(nbma_address), "0")

    def has(kind: str) -> bool:
        found = (text.split(" . ") for text in elements.get(f"{kind}{source.version}_{suffix}", ()))
        return any(owner == mark and source in ip_network(network) for owner, network in found)

    return has("sources") or (source not in OWN and has("carried"))


def _accepted(elements: Elements) -> set[tuple[str, Address, Address]]:
    return {
        (interface, nbma_address, source)
        for interface in INTERFACES
        for nbma_address in NBMA
        for source in SOURCES
        if _kernel(elements, interface, nbma_address, source)
    }


def _elements(peers: tuple[Peer, ...], present: Elements, settings: SourceFilter = SETTINGS) -> Elements:
    return source_filter_section(settings, INTERFACES, peers, present).elements


@given(worlds)
def test_the_sets_accept_what_the_peers_may_use_and_nothing_else(peers: tuple[Peer, ...]) -> None:
    """For each interface, NBMA address and source."""
    expected = {
        (interface, nbma_address, source)
        for interface in INTERFACES
        for nbma_address in NBMA
        for source in SOURCES
        if _oracle(peers, interface, nbma_address, source)
    }
    assert _accepted(_elements(peers, {})) == expected


@given(worlds)
def test_elements_of_a_set_do_not_overlap(peers: tuple[Peer, ...]) -> None:
    """The kernel refuses them."""
    for name, members in _elements(peers, {}).items():
        if name.startswith(("sources", "carried")):
            for one, other in combinations(sorted(members), 2):
                (mark, network), (other_mark, other_network) = one.split(" . "), other.split(" . ")
                assert mark != other_mark or not overlap(ip_network(network), ip_network(other_network))


@given(worlds)
def test_every_element_that_counts_has_an_owner(peers: tuple[Peer, ...]) -> None:
    """One of the peers."""
    section = source_filter_section(SETTINGS, INTERFACES, peers, {})
    counting = {
        (name, text)
        for name, members in section.elements.items()
        if not name.startswith("nbma")
        for text in members
    }  # fmt: skip
    assert section.owners.keys() == counting
    assert {owner.peer for owner in section.owners.values()} <= {peer.protocol_address for peer in peers}


def _steps(change: ChangeElements) -> Iterator[ChangeElements]:
    """Every part of a change as the reconciler applies them if nft refuses larger ones."""
    if parts := change.parts():
        for part in parts:
            yield from _steps(part)
    else:
        yield change


@given(worlds, worlds, st.sampled_from([SETTINGS, NARROW]))
def test_no_interrupted_change_accepts_what_neither_state_accepts(
    before: tuple[Peer, ...], after: tuple[Peer, ...], settings: SourceFilter
) -> None:
    """Applied at once, or one element at a time."""
    old = _elements(before, {}, settings)
    section = source_filter_section(settings, INTERFACES, after, old)
    allowed = _accepted(old) | _accepted(section.elements)
    change = changed_elements((section,), old)
    if change is None:
        return
    now = {name: set(members) for name, members in old.items()}
    for step in _steps(change):
        for name, members in step.removed.items():
            assert members <= now[name]
            now[name] -= members
        for name, members in step.added.items():
            now.setdefault(name, set()).update(members)
        assert _accepted({name: frozenset(members) for name, members in now.items()}) <= allowed
    assert {name: frozenset(members) for name, members in now.items()} == section.elements


@given(worlds, worlds)
def test_a_peer_that_stays_keeps_its_mark(before: tuple[Peer, ...], after: tuple[Peer, ...]) -> None:
    """Its packets under way stay accepted."""
    old = _elements(before, {})
    new = _elements(after, old)
    for name in ("nbma4", "nbma6"):
        was, now = (dict(text.split(" : ") for text in elements[name]) for elements in (old, new))
        assert all(now[address] == mark for address, mark in was.items() if address in now)


@given(worlds, absences)
def test_who_left_may_not_send_from_an_nbma_address_that_another_peer_has(
    peers: tuple[Peer, ...], absent: set[Address]
) -> None:
    """The mark would be the other peer's too."""
    for peer in peers:
        replaced = any(
            other.identity != peer.identity
            for other in peers
            if other.nbma_address == peer.nbma_address and other.protocol_address not in absent
        )
        restricted = replaced and peer.protocol_address in absent
        assert (peer.in_quarantine() if restricted else peer) in with_restrictions(peers, absent)


def test_an_address_without_a_mark_may_send_nothing_and_is_reported() -> None:
    """The mask has 7 marks for 8 addresses."""
    peers = tuple(
        Peer(ip_address(f"10.255.0.{at}"), ip_address(f"203.0.113.{at}"), "gre1", None, (), "", "", None)
        for at in range(1, 9)
    )
    section = source_filter_section(NARROW, ("gre1",), peers, {})
    assert len(section.elements["nbma4"]) == 7
    assert len(section.elements["sources4_gre1"]) == 7
    assert len(section.troubles) == 1
    quarantined = tuple(peer.in_quarantine() for peer in peers[:1])
    assert source_filter_section(NARROW, ("gre1",), quarantined, {}).elements["sources4_gre1"] == frozenset()
    section = source_filter_section(NARROW, ("gre1",), (*quarantined, *peers[1:]), section.elements)
    assert section.troubles == ()  # a peer that may send gets the mark of one that may not
    assert len(section.elements["sources4_gre1"]) == 7


@given(worlds, st.sets(st.sampled_from(PROTOCOL)))
def test_in_quarantine_a_peer_stays_in_its_groups(peers: tuple[Peer, ...], chosen: set[Address]) -> None:
    """Without its addresses in them, the default would decide about its packets, and may accept them.

    What no other peer has of them is accepted by no rule.
    """
    grouped = tuple(replace(peer, groups=("one",)) for peer in peers)
    restricted = tuple(peer.in_quarantine() if peer.protocol_address in chosen else peer for peer in grouped)
    groups = Groups((Group("one"),), (GroupRule(("one", "*"), False),))
    found, former = (groups_section(groups, INTERFACES, some).elements for some in (restricted, grouped))
    assert all(
        _covered(former[name]) == _covered(members)
        for name, members in found.items()
        if not name.startswith("restricted")
    )
    free = {network for peer in restricted if not peer.quarantined for network in peer.own_networks}
    limited = map(ip_network, (*found["restricted4"], *found["restricted6"]))
    assert not any(overlap(one, other) for one in limited for other in free)


def _covered(members: Iterable[str]) -> list[Network]:
    """Return the fewest networks with the addresses of these elements of one IP version."""
    return list(collapse_addresses(map(ip_network, members)))  # type: ignore[type-var]
