"""The series about the renewal, from the file that ``dmvpn-agent renew`` writes."""

from datetime import datetime
from pathlib import Path

from dmvpn_agent.renewal import metrics
from dmvpn_agent.renewal.state import read_state
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_renewal(telemetry: Telemetry, directory: Path) -> None:
    """Publish the series."""
    telemetry.observe(metrics.RENEWAL_DUE, lambda: _at(read_state(directory).due))
    telemetry.observe(metrics.RENEWAL_SUCCESS, lambda: _at(read_state(directory).succeeded))
    telemetry.observe(metrics.RENEWAL_FAILURES, lambda: read_state(directory).failures)


def _at(time: datetime | None) -> Samples:
    return {} if time is None else {(): time.timestamp()}
