"""The node's clock as ``dmvpn-agent doctor`` reads it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ClockView:
    """What says if the clock is right.

    ``daemon``: a time daemon that runs, if any. ``synchronised``: whether it has set the clock, ``None`` if that is
    not known. ``file``: what the agent wrote last, at the time ``written``. ``authorities_from``: when the first of
    the CA certificates begins to be valid.
    """

    daemon: str = ""
    synchronised: bool | None = None
    file: str = ""
    written: datetime | None = None
    authorities_from: datetime | None = None
