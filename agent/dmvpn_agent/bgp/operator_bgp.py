"""The operator's part of the BGP configuration, as far as it matters to the agent's neighbors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address, Network

IPV4, IPV6 = "ipv4 unicast", "ipv6 unicast"

#: Commands that filter routes in one direction: ``neighbor GROUP prefix-list NAME in``.
FILTERS = frozenset({"prefix-list", "route-map", "filter-list", "distribute-list"})


def opens_instance(words: Sequence[str], vrf: str) -> bool:
    """Tell whether a line of the running configuration opens the BGP instance of a VRF; empty: the default one."""
    named = words[3:4] not in ([], ["as-notation"])
    return words[:2] == ["router", "bgp"] and (words[3:5] == ["vrf", vrf] if vrf else not named)


@dataclass(frozen=True, slots=True)
class GroupFamily:
    """A peer-group in one address family.

    ``active`` is ``None`` without a line: then ``bgp default`` decides. ``filters``: command, name and direction.
    """

    active: bool | None = None
    as_override: bool = False
    filters: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class PeerGroup:
    """A peer-group. ``remote_as``: a number, ``internal``, ``external`` or ``auto``; ``None`` if the group has none.

    ``skips_connected_check``: eBGP peers need not be in a connected network (``disable-connected-check``,
    ``ebgp-multihop`` or ``ttl-security``). ``sender_loop_detection``: ``sender-as-path-loop-detection``.
    """

    remote_as: str | None = None
    local_as: str | None = None
    passive: bool = False
    shutdown: bool = False
    skips_connected_check: bool = False
    sender_loop_detection: bool = False
    families: Mapping[str, GroupFamily] = field(default_factory=dict)

    def family(self, name: str) -> GroupFamily:
        """Return the group in one address family."""
        return self.families.get(name, GroupFamily())


@dataclass(frozen=True, slots=True)
class ListenRange:
    """``bgp listen range``: bgpd accepts sessions from this network without a configured neighbor."""

    network: Network
    peer_group: str


@dataclass(frozen=True, slots=True)
class OperatorBgp:
    """The BGP instance without its neighbors.

    ``default_families``: address families in which neighbors and groups are active by default. ``shutdown`` and
    ``default_shutdown``: no neighbor, or no new one, opens a session. ``interfaces``: unnumbered neighbors with their
    peer-groups. ``shut_down``: neighbors with a ``shutdown`` of their own. ``defined_filters``: the filters that
    exist, command and name. ``other_instances``: the other ``router bgp`` lines.
    """

    default_families: frozenset[str] = frozenset({IPV4})
    shutdown: bool = False
    default_shutdown: bool = False
    connected_check: bool = True
    confederation: bool = False
    groups: Mapping[str, PeerGroup] = field(default_factory=dict)
    listen_ranges: tuple[ListenRange, ...] = ()
    interfaces: Mapping[str, str] = field(default_factory=dict)
    shut_down: frozenset[Address] = frozenset()
    defined_filters: frozenset[tuple[str, str]] = frozenset()
    other_instances: tuple[str, ...] = ()

    def is_active(self, group: str | None, family: str) -> bool:
        """Tell whether a group, or a neighbor without one, is active in an address family."""
        found = self.groups.get(group or "", PeerGroup()).family(family).active
        return family in self.default_families if found is None else found
