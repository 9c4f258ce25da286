"""Operator's configuration that keeps BGP sessions down, or keeps routes from crossing them."""

from collections import defaultdict
from collections.abc import Collection, Iterator

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.desired import members_by_group
from dmvpn_agent.bgp.neighbors import Desired, Neighbor, Observed, addresses
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6, PeerGroup
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.settings import BgpSettings


def session_problems(
    observed: Observed, settings: BgpSettings, wanted: Desired, up: frozenset[Address]
) -> Iterator[BgpProblem]:
    """Yield what keeps sessions down or empty; ``up`` are the neighbors whose session is up."""
    yield from _instance_problems(observed, wanted)
    for name, neighbors in members_by_group(wanted, settings).items():
        if (group := observed.operator.groups.get(name)) is not None:
            yield from _state_problems(observed, settings, name, group)
            yield from _reachability_problems(observed, settings, name, group, neighbors, up)
            yield from _undefined_filters(observed, name, group)
    yield from _shared_as_numbers(observed, settings, wanted)


def _instance_problems(observed: Observed, wanted: Desired) -> Iterator[BgpProblem]:
    operator = observed.operator
    if operator.shutdown:
        yield BgpProblem(Kind.SHUTDOWN, "FRR has `bgp shutdown`: no session comes up", "`no bgp shutdown`")
    if operator.default_shutdown:
        yield BgpProblem(
            Kind.SHUTDOWN, "FRR has `bgp default shutdown`: each new neighbor is shut down",
            "`no bgp default shutdown`, and `no neighbor ADDRESS shutdown` for those that exist already",
        )  # fmt: skip
    elif shut_down := operator.shut_down & wanted.neighbors.keys():
        names = ", ".join(sorted(map(str, shut_down)))
        yield BgpProblem(
            Kind.SHUTDOWN, f"an operator shut down neighbors of the agent: {names:.200}",
            "`no neighbor ADDRESS shutdown` for those that may come up again",
        )  # fmt: skip
    if operator.confederation:
        yield BgpProblem(
            Kind.CONFEDERATION,
            "FRR has `bgp confederation`: it decides which peers are internal, and the agent does not consider it",
            "do without it, or keep each confederation member's peers in a peer-group of their own",
        )


def _state_problems(observed: Observed, settings: BgpSettings, name: str, group: PeerGroup) -> Iterator[BgpProblem]:
    if not observed.operator.is_active(name, IPV4):
        yield BgpProblem(
            Kind.NOT_ACTIVATED,
            f"peer-group {name} is not active in IPv4: its sessions exchange no IPv4 prefixes",
            f"in frr.conf, under `{settings.instance}`: `address-family ipv4 unicast`,"
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
        found = f"FRR has `neighbor {name} passive` on a spoke, and hubs are passive too: no side opens the session"
        yield BgpProblem(Kind.ALL_PASSIVE, found, f"`no neighbor {name} passive`")


def _reachability_problems(
    observed: Observed,
    settings: BgpSettings,
    name: str,
    group: PeerGroup,
    neighbors: Collection[Neighbor],
    up: frozenset[Address],
) -> Iterator[BgpProblem]:
    external = [one for one in neighbors if one.as_number != settings.as_number]
    # A session that is up shows that the peers are in the tunnel interface's own network.
    if (
        external
        and observed.operator.connected_check
        and not group.skips_connected_check
        and not up & addresses(external)
    ):
        yield BgpProblem(
            Kind.CONNECTED_CHECK,
            f"peer-group {name} has no `disable-connected-check`: bgpd opens no eBGP session with a peer that it"
            " reaches by a route of nhrpd's",
            f"add `neighbor {name} disable-connected-check`",
        )  # fmt: skip


def _undefined_filters(observed: Observed, name: str, group: PeerGroup) -> Iterator[BgpProblem]:
    for command, named, direction in sorted(group.family(IPV4).filters):
        if (command, named) not in observed.operator.defined_filters:
            yield BgpProblem(
                Kind.UNDEFINED_FILTER,
                f"FRR has `neighbor {name} {command} {named} {direction}`, but no {command} {named}: no route"
                f" passes {direction}",
                f"define {named}, or remove the line",
            )  # fmt: skip


def _shared_as_numbers(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    for as_number, sharing in sorted(_peers_sharing_as(observed, settings, wanted).items()):
        names = ", ".join(sorted(map(str, sharing)))
        group = settings.peer_group
        families = " and ".join([IPV4, *([IPV6] if settings.ipv6 else [])])
        yield BgpProblem(
            Kind.SHARED_AS_NUMBER,
            f"{len(sharing)} peers share AS {as_number} ({names:.200}): each drops the others' prefixes, because"
            " its own AS number is in their path",
            f"add `neighbor {group} as-override` in `address-family {families}`, without"
            " `sender-as-path-loop-detection`; or give each peer an AS number of its own",
            sharing_as=sharing,
        )  # fmt: skip


def _peers_sharing_as(observed: Observed, settings: BgpSettings, wanted: Desired) -> dict[int, frozenset[Address]]:
    """Return the peers that share an AS number and drop each other's prefixes, by AS number.

    A BGP speaker drops routes with its own AS number in the path (RFC 4271, 9.1.2). ``as-override`` in the group
    replaces it by this node's. A spoke passes no routes from one hub to another, so the check is for hubs only.
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
