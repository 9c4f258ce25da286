"""The rules over who may talk to whom inside the DMVPN, as a section of the agent's table.

Packets are assigned to groups by their addresses, so that the rules hold in both directions and on every path. The
source filter makes the source addresses true.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product

from dmvpn_agent.addresses import IP_VERSIONS, Network, covers, overlap
from dmvpn_agent.kernel.nftables.section import RECEIVED_IN_VRF, Section, SectionName, element
from dmvpn_agent.kernel.nftables.source_filter import outermost
from dmvpn_agent.policy.groups import ANY, GroupRule, Groups
from dmvpn_agent.policy.peer import Peer

#: The sets of the addresses that no rule accepts, before the IP version.
_RESTRICTED = "restricted"
#: The counter of packets that no rule matches, if they are dropped.
DEFAULT_COUNTER = "group_default"


def counter(number: int) -> str:
    """Return the name of a rule's counter."""
    return f"group_rule_{number}"


def groups_section(groups: Groups, interfaces: tuple[str, ...], peers: Iterable[Peer]) -> Section:
    """Return the section for these peers.

    A peer in quarantine stays in its groups: without them only ``groups.accept`` would decide about its packets. Only
    rules that drop hold for it. What another peer has now is that peer's.
    """
    peers = tuple(peers)
    held = _Held(network for peer in peers if not peer.quarantined for network in peer.own_networks)
    members: dict[str, dict[Network, None]] = defaultdict(dict)
    for group in groups.groups:
        for network in group.networks:
            members[f"group{network.version}_{group.name}"][network] = None
    for peer in peers:
        own = held.rest(peer.own_networks) if peer.quarantined else peer.own_networks
        sets = (*(f"group{{}}_{name}" for name in peer.groups), *([f"{_RESTRICTED}{{}}"] if peer.quarantined else []))
        for name, network in product(sets, own):
            members[name.format(network.version)][network] = None
    names = [f"{_RESTRICTED}{version}" for version in IP_VERSIONS]
    names += [f"group{version}_{group.name}" for group in groups.groups for version in IP_VERSIONS]
    elements = {
        name: frozenset(element(network) for network in outermost(members.get(name, {}))) for name in names
    }  # fmt: skip
    return Section(SectionName.GROUPS, _body(groups, interfaces, names), elements)


class _Held:
    """The networks of the peers that are not in quarantine."""

    def __init__(self, networks: Iterable[Network]) -> None:
        by_version: dict[int, dict[Network, None]] = {version: {} for version in IP_VERSIONS}
        for network in networks:
            by_version[network.version][network] = None
        self._networks = {version: tuple(outermost(found)) for version, found in by_version.items()}
        self._starts = {
            version: [int(one.network_address) for one in found] for version, found in self._networks.items()
        }

    def rest(self, networks: Iterable[Network]) -> Iterator[Network]:
        """Yield what of these networks lies in none of them."""
        for network in networks:
            starts = self._starts[network.version]
            first = max(0, bisect_left(starts, int(network.network_address)) - 1)
            last = bisect_right(starts, int(network.broadcast_address))
            held = self._networks[network.version][first:last]
            yield from _rest(network, [one for one in held if overlap(one, network)])


def _rest(network: Network, held: list[Network]) -> Iterator[Network]:
    """Yield what of a network lies in none of these, each of which overlaps it."""
    if not held:
        yield network
    elif not covers(held[0], network):
        for half in network.subnets():
            yield from _rest(half, [one for one in held if overlap(one, half)])


def _body(groups: Groups, interfaces: tuple[str, ...], names: Iterable[str]) -> str:
    sets = "".join(
        f"  set {name} {{\n    type {'ipv4_addr' if name.partition('_')[0].endswith('4') else 'ipv6_addr'}\n"
        f"    flags interval\n  }}\n"
        for name in names
    )
    counters = [counter(number) for number in range(1, len(groups.rules) + 1)]
    counters += [] if groups.accept else [DEFAULT_COUNTER]
    declared = "".join(f"  counter {name} {{\n  }}\n" for name in counters)
    rules = "".join(
        f"    {line}\n" for number, rule in enumerate(groups.rules, 1) for line in _lines(rule, counter(number))
    )
    rest = "" if groups.accept else f"    counter name {DEFAULT_COUNTER} drop\n"
    tunnels = ", ".join(f'"{name}"' for name in interfaces)
    return f"""\
{sets}{declared}  chain between_groups {{
{rules}{rest}  }}
  chain groups {{
    type filter hook forward priority filter - 10; policy accept;
    iifname {{ {tunnels} }} goto between_groups
    {RECEIVED_IN_VRF} {{ {tunnels} }} goto between_groups
    oifname {{ {tunnels} }} goto between_groups
  }}
"""


def _lines(rule: GroupRule, name: str) -> Iterator[str]:
    end = f"counter name {name} {'return' if rule.accept else 'drop'}"
    if rule.between == (ANY, ANY) and not rule.accept:
        yield end
        return
    first, second = rule.between
    for source, destination in dict.fromkeys(((first, second), (second, first))):
        for version, family in ((4, "ip"), (6, "ip6")):
            conditions = [
                f"{family} {field} @group{version}_{group}"
                for field, group in (("saddr", source), ("daddr", destination))
                if group != ANY
            ]
            if rule.accept:
                conditions += [f"{family} {field} != @{_RESTRICTED}{version}" for field in ("saddr", "daddr")]
            yield f"{' '.join(conditions)} {end}"
