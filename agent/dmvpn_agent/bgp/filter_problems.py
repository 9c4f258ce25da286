"""Operator's configuration by which peers may announce more than the agent's filters permit."""

from collections.abc import Iterator

from dmvpn_agent.bgp.desired import members_by_group
from dmvpn_agent.bgp.neighbors import Desired, Observed
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.settings import BgpSettings


def filter_problems(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    """Yield what weakens the agent's filters."""
    if not observed.requires_policy:
        instant = ", and a new one is unfiltered for an instant" if observed.activates_ipv4 else ""
        yield BgpProblem(
            Kind.NO_POLICY_REQUIRED,
            "FRR has `no bgp ebgp-requires-policy` (or `frr defaults datacenter`): a neighbor accepts everything if"
            f" its filter is removed{instant}",
            "set `bgp ebgp-requires-policy`, and give the peer-groups an outbound policy",
        )  # fmt: skip
    for interface, group in observed.operator.interfaces.items():
        if group in settings.groups:
            yield BgpProblem(
                Kind.INTERFACE_NEIGHBOR,
                f"FRR has `neighbor {interface} interface peer-group {group}`: its session has only the group's"
                " filter; while it has no AS number, bgpd up to FRR 10.3 refuses other neighbors in the group",
                f"remove it, or give it a peer-group of its own: {group} is for the agent's neighbors",
            )  # fmt: skip
    yield from _other_families(observed, settings, wanted)


def _other_families(observed: Observed, settings: BgpSettings, wanted: Desired) -> Iterator[BgpProblem]:
    operator = observed.operator
    filtered_by_agent = {IPV4, IPV6} if settings.ipv6 else {IPV4}
    for name, neighbors in members_by_group(wanted, settings).items():
        if (group := operator.groups.get(name)) is None:
            continue
        internal = any(one.as_number == settings.as_number for one in neighbors)
        policy = observed.requires_policy and not internal
        for family in sorted({*group.families, *operator.default_families} - filtered_by_agent):
            filtered = any(direction == "in" for *_, direction in group.family(family).filters)
            # The agent deactivates IPv6 for its neighbors itself (``SetNeighbor``).
            if family != IPV6 and operator.is_active(name, family) and (filtered or not policy):
                yield BgpProblem(
                    Kind.OTHER_FAMILY,
                    f"FRR has `neighbor {name} activate` in `address-family {family}`, for which the agent has no"
                    " filter",
                    f"remove it unless the peers may announce there what the operator's own filter permits: "
                    f"`no neighbor {name} activate` in that address family",
                )  # fmt: skip
