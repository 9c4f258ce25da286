"""How long a peer has been at its stage, and how often it was lost."""

from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.view.stage import Stage


@dataclass(frozen=True, slots=True)
class Track:
    """What was seen of a peer over time.

    ``stage``: its last one other than unknown. ``since``: when it came there, ``None`` if that was before the agent
    knew it. ``last_seen``: when it was last up. ``flaps``: how often it left ``up`` since the agent started.
    """

    stage: Stage | None = None
    since: datetime | None = None
    last_seen: datetime | None = None
    flaps: int = 0

    def after(self, stage: Stage, now: datetime) -> "Track":
        """Return the track after the peer was seen at a stage. An unknown stage changes nothing."""
        if stage is Stage.UNKNOWN:
            return self
        moved = stage is not self.stage
        return Track(
            stage,
            now if moved else self.since,
            now if stage is Stage.UP else self.last_seen,
            self.flaps + (moved and self.stage is Stage.UP),
        )


UNTRACKED = Track()
