"""A problem in the operator's part of FRR's BGP configuration, as a value; ``problems`` finds them."""

from dataclasses import dataclass
from enum import StrEnum

from dmvpn_agent.addresses import Address


class BgpProblemKind(StrEnum):
    """The label ``kind`` of the metric ``bgp_problems``."""

    NO_INSTANCE = "no_instance"
    OTHER_AS_NUMBER = "other_as_number"
    NO_PEER_GROUP = "no_peer_group"
    GROUP_AS_NUMBER = "group_as_number"
    IBGP_UNFILTERED = "ibgp_unfiltered"
    DYNAMIC_NEIGHBOR = "dynamic_neighbor"
    LISTEN_RANGE = "listen_range"
    NO_POLICY_REQUIRED = "no_policy_required"
    OTHER_FAMILY = "other_family"
    INTERFACE_NEIGHBOR = "interface_neighbor"
    NOT_ACTIVATED = "not_activated"
    SHUTDOWN = "shutdown"
    ALL_PASSIVE = "all_passive"
    CONNECTED_CHECK = "connected_check"
    LOCAL_AS = "local_as"
    UNDEFINED_FILTER = "undefined_filter"
    CONFEDERATION = "confederation"
    SHARED_AS_NUMBER = "shared_as_number"


#: With one of these the agent can write nothing.
_BLOCK_ALL = frozenset({BgpProblemKind.NO_INSTANCE, BgpProblemKind.OTHER_AS_NUMBER})
_ALWAYS_SERIOUS = frozenset(
    {BgpProblemKind.LISTEN_RANGE, BgpProblemKind.NO_PEER_GROUP, BgpProblemKind.GROUP_AS_NUMBER}
)


@dataclass(frozen=True, slots=True)
class BgpProblem:
    """A problem in FRR's configuration, and what to do about it.

    ``blocks``: the neighbors that the agent does not write because of it. ``sharing_as``: those that drop each
    other's prefixes.
    """

    kind: BgpProblemKind
    found: str
    do: str
    blocks: frozenset[Address] = frozenset()
    sharing_as: frozenset[Address] = frozenset()

    def __str__(self) -> str:
        return f"{self.found}; {self.do}"

    @property
    def blocks_all(self) -> bool:
        """Tell whether the agent can write nothing at all."""
        return self.kind in _BLOCK_ALL

    @property
    def serious(self) -> bool:
        """Tell whether the agent cannot do its work, or its filters do not hold, until the operator acts."""
        return self.blocks_all or bool(self.blocks) or self.kind in _ALWAYS_SERIOUS

    @property
    def removes_blocked(self) -> bool:
        """Tell whether the agent removes blocked neighbors that FRR has: bgpd does not check their AS number."""
        return self.kind is BgpProblemKind.GROUP_AS_NUMBER
