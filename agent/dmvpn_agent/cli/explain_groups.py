"""``explain --from A --to B``: which rule of ``policy.groups`` decides about packets between two addresses."""

from collections.abc import Iterable
from pathlib import Path

from dmvpn_agent.addresses import Address
from dmvpn_agent.cli.stored_peers import judged
from dmvpn_agent.explain.context import load_context
from dmvpn_agent.policy.groups import Groups
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import complain, say, say_json
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable


def explain_groups(config: Path, sender: Address, receiver: Address, *, as_json: bool) -> int:
    """Print the groups of both addresses, and the rule; return the exit status. Raises ``ConfigError``."""
    context = load_context(config)
    groups = context.config.policy.groups
    try:
        stored = judged(context, frozenset())
        peers = (*stored.accepted, *stored.restricted)
    except StoreUnreadable as error:
        complain(f"dmvpn-agent: {error}; only the networks of groups count")
        peers = ()
    ends = {address: groups_of(address, groups, peers) for address in (sender, receiver)}
    restricted = any(is_restricted(address, peers) for address in ends)
    found = groups.rule(ends[sender], ends[receiver], restricted=restricted)
    accepts = found[1].accept if found else groups.accept
    if as_json:
        say_json("explain-groups/1", {
            "from": {"address": str(sender), "groups": ends[sender]},
            "to": {"address": str(receiver), "groups": ends[receiver]},
            "rule": found[0] if found else None,
            "verdict": "accept" if accepts else "drop",
        })  # fmt: skip
    else:
        for address, names in ends.items():
            state = "; its peer is in quarantine or denied, and no rule accepts its packets"
            say(f"{address} is in {', '.join(names) or 'no group'}{state if is_restricted(address, peers) else ''}.")
        why = f"rule {found[0]}, {found[1]}" if found else "no rule applies, and policy.groups.default decides"
        say(f"Packets between them {'pass' if accepts else 'are DROPPED'}: {why}.")
    return Exit.HEALTHY if accepts else Exit.DEGRADED


def groups_of(address: Address, groups: Groups, peers: Iterable[Peer]) -> tuple[str, ...]:
    """Return the groups that an address belongs to: by a network of the group, or by its peer."""
    named = [group.name for group in groups.groups if any(address in network for network in group.networks)]
    of_peers = [name for peer in _owners(address, peers) for name in peer.groups]
    return tuple(dict.fromkeys((*named, *of_peers)))


def is_restricted(address: Address, peers: Iterable[Peer]) -> bool:
    """Tell whether an address is one of a peer in quarantine or denied, and of no other peer."""
    return any(peer.quarantined for peer in _owners(address, peers))


def _owners(address: Address, peers: Iterable[Peer]) -> list[Peer]:
    """Return the peers that an address belongs to: those in quarantine, or denied, only if it is of no other."""
    found = [peer for peer in peers if any(address in one for one in peer.own_networks)]
    return [peer for peer in found if not peer.quarantined] or found
