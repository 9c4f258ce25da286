"""What in the operator's part of FRR hinders the agent: the values. ``bgp_problems`` finds them."""

from dataclasses import dataclass
from enum import StrEnum

from dmvpn_agent.addresses import Address


class BgpProblemKind(StrEnum):
    """The label of ``bgp_problems``."""

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


#: With one of these nothing at all can be written.
_FOR_ALL = frozenset({BgpProblemKind.NO_INSTANCE, BgpProblemKind.OTHER_AS_NUMBER})


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
        """Tell whether nothing can be written at all."""
        return self.kind in _FOR_ALL

    @property
    def serious(self) -> bool:
        """Tell whether the agent cannot do its work, or its filters do not hold, until it is mended."""
        always = {BgpProblemKind.LISTEN_RANGE, BgpProblemKind.NO_PEER_GROUP, BgpProblemKind.GROUP_AS_NUMBER}
        return self.blocks_all or bool(self.blocks) or self.kind in always

    @property
    def removes(self) -> bool:
        """Tell whether a blocked neighbor that stands already has to go: bgpd does not check its AS number."""
        return self.kind is BgpProblemKind.GROUP_AS_NUMBER
