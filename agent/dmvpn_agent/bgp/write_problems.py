"""Operator's configuration that keeps the agent from writing neighbors."""

from collections.abc import Collection, Iterator

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.bgp.desired import members_by_group
from dmvpn_agent.bgp.neighbors import Desired, Neighbor, Observed, addresses
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6, ListenRange
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.settings import BgpSettings, Instance


def instance_problem(observed: Observed, settings: BgpSettings) -> BgpProblem | None:
    """Return what is wrong with the BGP instance, if anything; then the agent can write nothing."""
    if observed.as_number is None:
        others = observed.operator.other_instances
        named = f"the instance of the VRF {settings.vrf}" if settings.vrf else "the default instance"
        besides = f" (`{others[0]}` is not {named})" if others else ""
        missing = f"FRR has no BGP instance{f' in the VRF {settings.vrf}' if settings.vrf else ''}{besides}"
        return BgpProblem(Kind.NO_INSTANCE, missing, f"add `{settings.instance}`")
    if observed.as_number != settings.as_number:
        found = f"FRR runs `{Instance(observed.as_number, settings.vrf)}`, bgp.as_number is {settings.as_number}"
        return BgpProblem(Kind.OTHER_AS_NUMBER, found, "make them the same")
    return None


def write_problems(
    observed: Observed,
    settings: BgpSettings,
    wanted: Desired,
    dynamic: Collection[Address],
    tunnels: Collection[Network],
) -> Iterator[BgpProblem]:
    """Yield what keeps the agent from writing some of the neighbors."""
    yield from _missing_groups(observed, settings, wanted)
    yield from _group_as_numbers(observed, settings, wanted)
    yield from _unfiltered_ibgp(observed, settings, wanted)
    yield from _dynamic_neighbors(observed, settings, wanted, dynamic, tunnels)


def _missing_groups(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    for group, neighbors in members_by_group(wanted, settings).items():
        if group not in observed.peer_groups and (neighbors or group == settings.peer_group):
            yield BgpProblem(
                Kind.NO_PEER_GROUP,
                f"FRR has no peer-group {group}",
                f"add `neighbor {group} peer-group`, or correct bgp.peer_group (or bgp.hub_peer_group and the like)",
                addresses(neighbors),
            )  # fmt: skip


def _group_as_numbers(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    for name, neighbors in members_by_group(wanted, settings).items():
        group = observed.operator.groups.get(name)
        if group is None or group.remote_as is None:
            continue
        other = [one for one in neighbors if not _same_as(group.remote_as, one.as_number, settings)]
        if other or group.remote_as in {"external", "auto"}:
            yield BgpProblem(
                Kind.GROUP_AS_NUMBER,
                f"FRR has `neighbor {name} remote-as {group.remote_as}`: bgpd uses that for all members of the group"
                " instead of the AS number in the peer's certificate",
                f"`no neighbor {name} remote-as {group.remote_as}`, which removes its neighbors too; the agent writes"
                " them again",
                addresses(other),
            )  # fmt: skip


def _same_as(group: str, as_number: int | None, settings: BgpSettings) -> bool:
    if group == "internal":
        return as_number == settings.as_number
    high, _, low = group.rpartition(".")
    return (high or "0").isdecimal() and low.isdecimal() and (int(high or 0) << 16) + int(low) == as_number


def _unfiltered_ibgp(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    words = {IPV4: "ipv4-unicast", IPV6: "ipv6-unicast"}
    active = [IPV4] if observed.activates_ipv4 else []
    active += [IPV6] if IPV6 in observed.operator.default_families else []
    new = [
        one for one in wanted.neighbors.values()
        if one.as_number == settings.as_number and not _has_filters(observed.neighbors.get(one.address), one)
    ]  # fmt: skip
    for family in active if new else ():
        yield BgpProblem(
            Kind.IBGP_UNFILTERED,
            f"FRR has `bgp default {words[family]}`: an iBGP neighbor would be unfiltered until it has its list",
            f"add `no bgp default {words[family]}`, and activate the peer-groups", addresses(new),
        )  # fmt: skip


def _has_filters(found: Neighbor | None, wanted: Neighbor) -> bool:
    """Tell whether a neighbor has its filters already, and need not be removed to change its group."""
    return (
        found is not None
        and found.prefix_lists == wanted.prefix_lists
        and found.peer_group in {None, wanted.peer_group}
    )


def _dynamic_neighbors(
    observed: Observed,
    settings: BgpSettings,
    wanted: Desired,
    dynamic: Collection[Address],
    tunnels: Collection[Network],
) -> Iterator[BgpProblem]:
    lines = [
        f"bgp listen range {one.network} peer-group {one.peer_group}"
        for one in observed.operator.listen_ranges
        if _covers_peers(one, settings, wanted, tunnels)
    ]
    for line in lines:
        yield BgpProblem(
            Kind.LISTEN_RANGE,
            f"FRR has `{line}`: a session that comes before the agent's neighbor has the group's filter, not that of"
            " the peer's certificate, and bgpd refuses a neighbor at its address",
            f"remove it: `no {line}`; the agent writes a neighbor for each peer",
        )  # fmt: skip
    if blocked := wanted.neighbors.keys() & set(dynamic) - observed.neighbors.keys():
        names = ", ".join(sorted(map(str, blocked)))
        yield BgpProblem(
            Kind.DYNAMIC_NEIGHBOR,
            f"bgpd has a dynamic session at the address of {names}, without the agent's filter",
            f"remove `{lines[0] if lines else 'bgp listen range'}`, which ends it", frozenset(blocked),
        )  # fmt: skip


def _covers_peers(listens: ListenRange, settings: BgpSettings, wanted: Desired, tunnels: Collection[Network]) -> bool:
    network = listens.network
    return (
        listens.peer_group in settings.groups
        or any(address in network for address in wanted.neighbors)
        or any(network.version == tunnel.version and network.overlaps(tunnel) for tunnel in tunnels)
    )
