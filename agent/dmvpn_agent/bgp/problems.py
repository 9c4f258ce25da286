"""What the operator's part of the BGP configuration means for the neighbors that the agent writes.

docs/bgp.md has every command. Here are those that keep the agent from writing a neighbor; ``bgp_sessions`` has those
that weaken what it writes, or keep a session from coming up or from carrying routes.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.bgp.neighbors import Desired, Neighbor, Observed, owns_neighbor
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6
from dmvpn_agent.bgp.plan import is_ours
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.session_problems import addresses, members_of_groups, shared_as_numbers, silent, weakened
from dmvpn_agent.bgp.settings import BgpSettings


def bgp_problems(
    observed: Observed,
    settings: BgpSettings,
    wanted: Desired,
    *,
    established: Collection[Address] = (),
    dynamic: Collection[Address] = (),
    tunnels: Collection[Network] = (),
) -> tuple[BgpProblem, ...]:
    """Return what the operator's part of FRR means for the neighbors that are wanted.

    ``established``: neighbors whose session is up. ``dynamic``: sessions that came by a ``bgp listen range``.
    ``tunnels``: the tunnel networks, where they are known.
    """
    found = _instance(observed, settings)
    if found is not None:
        return (found,)
    up = frozenset(address for address in established if address in observed.neighbors)
    return (
        *_groups_missing(observed, settings, wanted),
        *_group_as_numbers(observed, settings, wanted),
        *_unfiltered_ibgp(observed, settings, wanted),
        *_dynamic(observed, settings, wanted, dynamic, tunnels),
        *weakened(observed, settings, wanted),
        *silent(observed, settings, wanted, up),
        *shared_as_numbers(observed, settings, wanted),
    )


def without_blocked(wanted: Desired, observed: Observed, problems: Iterable[BgpProblem]) -> Desired:
    """Return what of the desired state can be written: the neighbors that a problem blocks stay as they are.

    One whose AS number bgpd would not check has to go. Filters are kept up to date in any case.
    """
    neighbors = dict(wanted.neighbors)
    for problem in problems:
        for address in problem.blocks & neighbors.keys():
            found = observed.neighbors.get(address)
            if found is not None and not is_ours(found, wanted.neighbors[address], observed):
                continue  # somebody else's, which the plan names and leaves alone
            if found is not None and owns_neighbor(found) and not problem.removes:
                neighbors[address] = found
            else:
                del neighbors[address]
    return replace(wanted, neighbors=neighbors)


def _instance(observed: Observed, settings: BgpSettings) -> BgpProblem | None:
    if observed.as_number is None:
        others = observed.operator.other_instances
        besides = f" (`{others[0]}` is not the default instance)" if others else ""
        return BgpProblem(
            Kind.NO_INSTANCE, f"FRR has no BGP instance{besides}", f"add `router bgp {settings.as_number}`"
        )
    if observed.as_number != settings.as_number:
        found = f"FRR runs `router bgp {observed.as_number}`, bgp.as_number is {settings.as_number}"
        return BgpProblem(Kind.OTHER_AS_NUMBER, found, "make them the same")
    return None


def _groups_missing(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    for group, neighbors in members_of_groups(settings, wanted).items():
        if group not in observed.peer_groups and (neighbors or group == settings.peer_group):
            yield BgpProblem(
                Kind.NO_PEER_GROUP, f"FRR has no peer-group {group}",
                f"add `neighbor {group} peer-group` or see to bgp.peer_group and the like", addresses(neighbors),
            )  # fmt: skip


def _group_as_numbers(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    for name, neighbors in members_of_groups(settings, wanted).items():
        group = observed.operator.groups.get(name)
        if group is None or group.remote_as is None:
            continue
        other = [one for one in neighbors if not _same_as(group.remote_as, one.as_number, settings)]
        if other or group.remote_as in {"external", "auto"}:
            yield BgpProblem(
                Kind.GROUP_AS_NUMBER,
                f"FRR has `neighbor {name} remote-as {group.remote_as}`: bgpd takes that for all its neighbors"
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
    # One that has its filter, or joins its group in the state in which it is, is not made anew.
    new = [
        one for one in wanted.neighbors.values()
        if one.as_number == settings.as_number and not _stands(observed.neighbors.get(one.address), one)
    ]  # fmt: skip
    for family in active if new else ():
        yield BgpProblem(
            Kind.IBGP_UNFILTERED,
            f"FRR has `bgp default {words[family]}`: an iBGP neighbor would be unfiltered until it has its list",
            f"add `no bgp default {words[family]}`, and activate the peer-groups", addresses(new),
        )  # fmt: skip


def _stands(found: Neighbor | None, wanted: Neighbor) -> bool:
    return (
        found is not None
        and found.prefix_lists == wanted.prefix_lists
        and found.peer_group in {None, wanted.peer_group}
    )


def _dynamic(
    observed: Observed,
    settings: BgpSettings,
    wanted: Desired,
    dynamic: Collection[Address],
    tunnels: Collection[Network],
) -> Iterator[BgpProblem]:
    in_the_way = wanted.neighbors.keys() & set(dynamic) - observed.neighbors.keys()
    lines = []
    for one in observed.operator.listen_ranges:
        if (
            one.peer_group in settings.groups
            or any(address in one.network for address in wanted.neighbors)
            or any(one.network.version == tunnel.version and one.network.overlaps(tunnel) for tunnel in tunnels)
        ):
            lines.append(f"bgp listen range {one.network} peer-group {one.peer_group}")
            yield BgpProblem(
                Kind.LISTEN_RANGE,
                f"FRR has `{lines[-1]}`: a session that comes before the agent's neighbor has the group's filter, not"
                " that of the peer's certificate, and FRR takes no neighbor at its address",
                f"remove it: `no {lines[-1]}`; the agent writes a neighbor for each peer",
            )  # fmt: skip
    if in_the_way:
        names = ", ".join(sorted(map(str, in_the_way)))
        yield BgpProblem(
            Kind.DYNAMIC_NEIGHBOR,
            f"a dynamic session stands at the address of {names}, without the agent's filter",
            f"remove `{lines[0] if lines else 'bgp listen range'}`, which ends it", frozenset(in_the_way),
        )  # fmt: skip
