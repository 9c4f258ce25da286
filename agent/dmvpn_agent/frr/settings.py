"""The operator's ``[frr]``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Frr:
    """How FRR is reached and how often. Times are seconds.

    ``vty_directory``: where the daemons' vty sockets are. ``bgp_transport``: what BGP is written by, ``vtysh`` or
    ``vty``. ``coalesce``: how long what happens is collected before it is acted upon together. ``resync_interval``:
    how often FRR is read though nothing happened. ``linger``: how long a peer that left nhrpd's cache keeps what it
    has.
    """

    vtysh: str
    vty_directory: Path
    bgp_transport: str
    coalesce: float
    resync_interval: float
    linger: float
