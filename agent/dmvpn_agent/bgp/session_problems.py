"""What in the operator's part of the BGP configuration weakens the agent's neighbors, or keeps them silent."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import Desired, Neighbor, Observed
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6, PeerGroup
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.settings import BgpSettings


def members_of_groups(settings: BgpSettings, wanted: Desired) -> Mapping[str, list[Neighbor]]:
    """Return the peer-groups that the agent uses, with the neighbors that are to be in each."""
    members: dict[str, list[Neighbor]] = {group: [] for group in settings.groups}
    for neighbor in wanted.neighbors.values():
        members.setdefault(neighbor.peer_group or settings.peer_group, []).append(neighbor)
    return members


def addresses(neighbors: Iterable[Neighbor]) -> frozenset[Address]:
    """Return the addresses of neighbors."""
    return frozenset(neighbor.address for neighbor in neighbors)


def weakened(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    """Yield what lets peers announce more than the agent's filters permit, or may."""
    operator = observed.operator
    if not observed.requires_policy:
        instant = ", and a new one is unfiltered for an instant" if observed.activates_ipv4 else ""
        yield BgpProblem(
            Kind.NO_POLICY_REQUIRED,
            "FRR has `no bgp ebgp-requires-policy` (or `frr defaults datacenter`): a neighbor that somebody takes the"
            f" filter from lets everything in{instant}",
            "set `bgp ebgp-requires-policy`, and give the peer-groups an outbound policy",
        )  # fmt: skip
    for interface, joined in operator.interfaces.items():
        if joined in settings.groups:
            yield BgpProblem(
                Kind.INTERFACE_NEIGHBOR,
                f"FRR has `neighbor {interface} interface peer-group {joined}`: its session has only the"
                " group's filter, and as long as it has no AS number FRR takes no other neighbor into the group",
                f"remove it, or give it a peer-group of its own: {joined} is for the agent's neighbors",
            )  # fmt: skip
    ours = {IPV4, IPV6} if settings.ipv6 else {IPV4}
    for name, neighbors in members_of_groups(settings, wanted).items():
        internal = any(one.as_number == settings.as_number for one in neighbors)
        if (group := operator.groups.get(name)) is None:
            continue
        families = {*group.families, *operator.default_families}
        for family in sorted(families - ours):
            filtered = any(direction == "in" for *_, direction in group.family(family).filters)
            policy = observed.requires_policy and not internal
            # The agent takes IPv6 from its neighbors itself (``SetNeighbor``).
            if family != IPV6 and operator.is_active(name, family) and (filtered or not policy):
                yield BgpProblem(
                    Kind.OTHER_FAMILY,
                    f"FRR has `neighbor {name} activate` in `address-family {family}`, for which the agent has no"
                    " filter",
                    f"remove it unless the peers may announce there what the operator's own filter permits: "
                    f"`no neighbor {name} activate` in that address family",
                )  # fmt: skip


def silent(
    observed: Observed, settings: BgpSettings, wanted: Desired, up: frozenset[Address]
) -> Iterator[BgpProblem]:
    """Yield what keeps sessions down, or empty; ``up`` are the neighbors whose session is up."""
    operator = observed.operator
    if operator.shutdown:
        yield BgpProblem(Kind.SHUTDOWN, "FRR has `bgp shutdown`: no session comes up", "`no bgp shutdown`")
    if operator.default_shutdown:
        yield BgpProblem(
            Kind.SHUTDOWN, "FRR has `bgp default shutdown`: each new neighbor is shut down",
            "`no bgp default shutdown`, and `no neighbor ADDRESS shutdown` for those that were made with it",
        )  # fmt: skip
    elif by_hand := operator.shut_down & wanted.neighbors.keys():
        names = ", ".join(sorted(map(str, by_hand)))
        yield BgpProblem(
            Kind.SHUTDOWN, f"somebody shut down neighbors of the agent's: {names:.200}",
            "`no neighbor ADDRESS shutdown` for those that may come up again",
        )  # fmt: skip
    if operator.confederation:
        yield BgpProblem(
            Kind.CONFEDERATION,
            "FRR has `bgp confederation`: it decides which peers are internal, and the agent does not know of it",
            "do without it, or keep each confederation member's peers in a peer-group of their own",
        )
    for name, neighbors in members_of_groups(settings, wanted).items():
        if (group := operator.groups.get(name)) is not None:
            yield from _silent_group(observed, settings, name, group, neighbors, up)


def _silent_group(
    observed: Observed,
    settings: BgpSettings,
    name: str,
    group: PeerGroup,
    neighbors: Collection[Neighbor],
    up: frozenset[Address],
) -> Iterator[BgpProblem]:
    operator = observed.operator
    if not operator.is_active(name, IPV4):
        yield BgpProblem(
            Kind.NOT_ACTIVATED,
            f"peer-group {name} is not active in IPv4: its sessions exchange no IPv4 prefixes",
            f"in frr.conf, under `router bgp {settings.as_number}`: `address-family ipv4 unicast`,"
            f" `neighbor {name} activate`",
        )  # fmt: skip
    if group.shutdown:
        found = f"FRR has `neighbor {name} shutdown`: no session of the group comes up"
        yield BgpProblem(Kind.SHUTDOWN, found, f"`no neighbor {name} shutdown`")
    if group.local_as is not None:
        yield BgpProblem(
            Kind.LOCAL_AS,
            f"FRR has `neighbor {name} local-as {group.local_as}`: the peers' agents expect the AS number in this"
            " node's certificate",
            f"remove it, or put {group.local_as} into the certificate",
        )  # fmt: skip
    if group.passive and settings.only_hubs:
        found = f"FRR has `neighbor {name} passive` on a spoke, and the hubs wait too: nobody opens the session"
        yield BgpProblem(Kind.ALL_PASSIVE, found, f"`no neighbor {name} passive`")
    external = [one for one in neighbors if one.as_number != settings.as_number]
    # A session that is up shows that the tunnel interface's own network holds the peers.
    if external and operator.connected_check and not group.skips_connected_check and not up & addresses(external):
        yield BgpProblem(
            Kind.CONNECTED_CHECK,
            f"peer-group {name} has no `disable-connected-check`: bgpd opens no eBGP session with a peer that it"
            " reaches by a route of nhrpd",
            f"add `neighbor {name} disable-connected-check`",
        )  # fmt: skip
    for command, named, direction in sorted(group.family(IPV4).filters):
        if (command, named) not in operator.defined:
            yield BgpProblem(
                Kind.UNDEFINED_FILTER,
                f"FRR has `neighbor {name} {command} {named} {direction}`, and no {command} {named}: nothing passes"
                f" {direction}",
                f"define {named}, or remove the line",
            )  # fmt: skip


def shared_as_numbers(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    """Yield the AS numbers that several peers have, where that keeps them apart."""
    for as_number, sharing in sorted(_cut_off(observed, settings, wanted).items()):
        names = ", ".join(sorted(map(str, sharing)))
        group = settings.peer_group
        families = " and ".join([IPV4, *([IPV6] if settings.ipv6 else [])])
        yield BgpProblem(
            Kind.SHARED_AS_NUMBER,
            f"{len(sharing)} peers share AS {as_number} ({names:.200}): each drops the others' prefixes, because"
            " they come with its own AS number",
            f"add `neighbor {group} as-override` in `address-family {families}`, without"
            " `sender-as-path-loop-detection`; or give each peer an AS number of its own",
            sharing_as=sharing,
        )  # fmt: skip


def _cut_off(observed: Observed, settings: BgpSettings, wanted: Desired) -> dict[int, frozenset[Address]]:
    """Return the peers that share an AS number and drop each other's prefixes, by that number.

    eBGP drops what comes with one's own AS number (RFC 4271, 9.1.2). ``as-override`` in the group puts the node's own
    in its place. Only what this node sends counts: a spoke sends nothing from one hub to another.
    """
    group = observed.operator.groups.get(settings.peer_group)
    if settings.only_hubs or group is None:
        return {}
    families = (IPV4, IPV6) if settings.ipv6 else (IPV4,)
    if all(group.family(family).as_override for family in families) and not group.sender_loop_detection:
        return {}
    sharing: dict[int, set[Address]] = defaultdict(set)
    for neighbor in wanted.neighbors.values():
        if neighbor.peer_group == settings.peer_group and neighbor.as_number not in {None, settings.as_number}:
            sharing[neighbor.as_number or 0].add(neighbor.address)
    return {number: frozenset(several) for number, several in sharing.items() if len(several) > 1}
