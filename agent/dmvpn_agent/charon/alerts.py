"""charon's alerts: counted by kind, and those an operator can act on logged, each kind at most once an interval."""

from collections import defaultdict

import structlog

from dmvpn_agent.charon import alert_kinds as alert
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime, in_seconds
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two log lines about alerts of one kind.
LOG_INTERVAL = 60.0


class CharonAlerts:
    """Told of each alert."""

    def __init__(self, telemetry: Telemetry, clock: Uptime) -> None:
        self._telemetry = telemetry
        self._reported = defaultdict[str, Trouble](lambda: Trouble(LOG_INTERVAL, in_seconds(clock)))

    def heard(self, name: str, sa: IkeSa | None) -> None:
        """Count an alert; ``sa`` is the IKE_SA that it is about, if any."""
        kind = alert.kind(name)
        self._telemetry.increment(metrics.CHARON_ALERTS, kind)
        if kind not in alert.NOTABLE:
            return
        reported = self._reported[kind]
        if not reported.is_new(kind):
            return
        about = {"connection": sa.name, "remote": str(sa.remote_host), "remote_id": sa.remote_id} if sa else {}
        log.warning("charon_alert", kind=kind, **about, more_since_last=reported.repeats,
                    do="charon's log has the details")  # fmt: skip
