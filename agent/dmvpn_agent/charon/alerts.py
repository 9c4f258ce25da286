"""charon's alerts: counted by kind, and those an operator can act on logged, each kind at most once an interval."""

from datetime import timedelta

import structlog

from dmvpn_agent.charon import alert_kinds as alert
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

LOG_INTERVAL = timedelta(minutes=1)


class CharonAlerts:
    """Told of each alert."""

    def __init__(self, telemetry: Telemetry, clock: Uptime) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._said: dict[str, timedelta] = {}
        self._unsaid: dict[str, int] = {}

    def heard(self, name: str, sa: IkeSa | None) -> None:
        """Count an alert; ``sa`` is the IKE_SA that it is about, if any."""
        kind = alert.kind(name)
        self._telemetry.increment(metrics.CHARON_ALERTS, kind)
        if kind not in alert.NOTABLE:
            return
        now = self._clock()
        if kind in self._said and now < self._said[kind] + LOG_INTERVAL:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said[kind] = now
        about = {"connection": sa.name, "remote": str(sa.remote_host), "remote_id": sa.remote_id} if sa else {}
        log.warning("charon_alert", kind=kind, **about, more_since_last=self._unsaid.pop(kind, 0),
                    do="charon's log has the details")  # fmt: skip
