"""The operator's ``[bridge]``."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.runtime.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Bridge:
    """``listen``: the socket at which nhrpd expects charon. Limits: for SAs that the bridge starts; 0: no limit."""

    listen: Path
    metrics: Endpoint | None
    init_limit_half_open: int
    init_limit_job_load: int
