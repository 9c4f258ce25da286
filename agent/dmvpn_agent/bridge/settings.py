"""The operator's ``[bridge]``."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.runtime.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Bridge:
    """The bridge's own part: where nhrpd looks for charon, its metrics, limits to what it starts (0: none)."""

    listen: Path
    metrics: Endpoint | None
    init_limit_half_open: int
    init_limit_job_load: int
