"""The settings in ``[frr]``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Frr:
    """How the agent reaches FRR, and how often. Times are seconds.

    ``vtysh``: the program. ``vty_directory``: where the daemons' vty sockets are. ``bgp_transport``: how the agent
    writes BGP, ``vtysh`` or ``vty``. ``coalesce``: how long events are collected before a pass.
    ``resync_interval``: the time between passes without events. ``linger``: how long a peer that left nhrpd's cache
    keeps its neighbor and filters.
    """

    vtysh: str
    vty_directory: Path
    bgp_transport: str
    coalesce: float
    resync_interval: float
    linger: float
