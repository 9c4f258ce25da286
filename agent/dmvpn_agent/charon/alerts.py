"""charon's alerts: counted by kind; those that an operator can act on are logged, each kind once a minute at most."""

from collections import defaultdict

import structlog

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.alert_kinds import NOTABLE, alert_label
from dmvpn_agent.charon.events import Alert
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime, in_seconds
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds.
LOG_INTERVAL = 60.0


class CharonAlerts:
    """Counts and logs alerts."""

    def __init__(self, telemetry: Telemetry, clock: Uptime) -> None:
        self._telemetry = telemetry
        self._reported = defaultdict[str, Trouble](lambda: Trouble(LOG_INTERVAL, in_seconds(clock)))

    def add(self, alert: Alert) -> None:
        """Count an alert, and log it if its kind is notable and was not logged within the interval."""
        kind = alert_label(alert.kind)
        self._telemetry.increment(metrics.CHARON_ALERTS, kind)
        if kind not in NOTABLE:
            return
        reported = self._reported[kind]
        if not reported.is_new(kind):
            return
        sa = alert.ike_sa
        about = {"connection": sa.name, "remote": str(sa.remote_host), "remote_id": sa.remote_id} if sa else {}
        log.warning("charon_alert", kind=kind, **about, more_since_last=reported.repeats,
                    do="see charon's log for details")  # fmt: skip
