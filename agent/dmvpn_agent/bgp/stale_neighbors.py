"""The agent's neighbors in FRR whose peers it does not know, because it lost its peer table.

As a BGP speaker keeps stale routes in a graceful restart, the agent keeps these neighbors and their filters as they
are: until there is a new decision about the peer, or until the linger time is over.
"""

from dataclasses import replace
from datetime import timedelta

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp.neighbors import Desired, Observed, deny_any, owns_list, owns_neighbor


class StaleNeighbors:
    """The stale neighbors of one run of the agent: those that FRR has at its first pass."""

    def __init__(self) -> None:
        self._until: timedelta | None = None
        self._addresses: frozenset[Address] | None = None

    def keep_until(self, uptime: timedelta) -> None:
        """Set the end of the linger time, once: a reconciler that crashed and runs again does not extend it."""
        if self._until is None:
            self._until = uptime

    def refresh(self, observed: Observed, peers: Peers, now: timedelta) -> frozenset[Address]:
        """Return the addresses of the neighbors that are stale now."""
        if self._addresses is None:
            self._addresses = frozenset(
                address for address, neighbor in observed.neighbors.items()
                if owns_neighbor(neighbor) and address not in peers
            )  # fmt: skip
        if self._until is None or now > self._until:
            self._addresses = frozenset()
        self._addresses = frozenset(address for address in self._addresses if not peers.was_judged(address))
        return self._addresses


def keep_stale(wanted: Desired, observed: Observed, stale: frozenset[Address]) -> Desired:
    """Return the desired state with the stale neighbors and their filters as they are."""
    if not stale:
        return wanted
    kept = {
        address: neighbor
        for address, neighbor in observed.neighbors.items()
        if address in stale and address not in wanted.neighbors and owns_neighbor(neighbor)
    }
    lists = {
        name: frozenset(observed.prefix_lists.get(name, {}).values()) - {deny_any(name)}
        for neighbor in kept.values()
        for name in neighbor.prefix_lists
        if owns_list(name)
    }
    return replace(
        wanted,
        neighbors={**kept, **wanted.neighbors},
        prefix_lists={**lists, **wanted.prefix_lists},
    )
