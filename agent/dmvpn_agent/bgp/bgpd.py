"""The interface between deciding what to configure and the bgpd that runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import Observed, owns_neighbor
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.sessions import Session


class FrrUnavailable(Exception):
    """A daemon or vtysh is missing, hangs, or does not answer. Worth a retry."""


class FrrRefused(Exception):
    """FRR refused a command; the text has the command and FRR's message."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """bgpd at one moment: its configuration, and its sessions by neighbor address."""

    config: Observed
    sessions: Mapping[Address, Session]

    def own_neighbors(self) -> frozenset[Address]:
        """Return the addresses of the agent's neighbors."""
        return frozenset(address for address, one in self.config.neighbors.items() if owns_neighbor(one))

    def own_sessions(self) -> tuple[tuple[Address, Session], ...]:
        """Return the sessions of the agent's neighbors."""
        own = self.own_neighbors()
        return tuple((address, session) for address, session in self.sessions.items() if address in own)

    def established(self) -> frozenset[Address]:
        """Return the neighbors whose session is Established."""
        return frozenset(address for address, one in self.sessions.items() if one.state == "Established")


class Bgpd(Protocol):
    """The bgpd of this node."""

    async def observe(self) -> Snapshot:
        """Read the configuration and the sessions. Raises ``FrrUnavailable``."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in order, up to the first refused one. Raises ``FrrRefused``, ``FrrUnavailable``."""
