"""What the reconciler needs of bgpd: the seam between deciding what to configure and the program that does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.sessions import Session


class FrrUnavailable(Exception):
    """FRR cannot be reached now: a daemon or vtysh is missing, hangs, or does not answer. Worth trying again."""


class FrrRefused(Exception):
    """FRR did not take a command; the text names it and gives FRR's own words."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """bgpd at one moment: its configuration and its sessions by neighbor."""

    config: Observed
    sessions: Mapping[Address, Session]


class Bgpd(Protocol):
    """The bgpd of this node."""

    async def observe(self) -> Snapshot:
        """Read configuration and state. Raises ``FrrUnavailable``."""

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in their order. Raises ``FrrRefused`` at the first refused, ``FrrUnavailable``."""
