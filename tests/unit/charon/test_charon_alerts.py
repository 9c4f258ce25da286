"""charon's alerts in the log, and the closed lists of label values."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.alert_kinds import OTHER
from dmvpn_agent.charon.alerts import LOG_INTERVAL, CharonAlerts
from dmvpn_agent.charon.algorithms import Strength, label
from dmvpn_agent.charon.events import Alert
from dmvpn_agent.runtime.telemetry import Telemetry


def test_each_kind_is_logged_once_an_interval(telemetry: Telemetry) -> None:
    """The next line has the number of alerts that were not logged."""
    time = timedelta()
    alerts = CharonAlerts(telemetry, lambda: time)
    with capture_logs() as lines:
        for _ in range(1000):
            alerts.add(Alert("peer-auth-failed"))
        alerts.add(Alert("cert-expired"))
        time += timedelta(seconds=LOG_INTERVAL + 1)
        alerts.add(Alert("peer-auth-failed"))
    assert [(line["kind"], line["more_since_last"]) for line in lines] == [
        ("peer-auth-failed", 0), ("cert-expired", 0), ("peer-auth-failed", 999),
    ]  # fmt: skip
    assert telemetry.value(metrics.CHARON_ALERTS, "peer-auth-failed") == 1001


def test_alerts_that_no_operator_can_act_on_are_only_counted(telemetry: Telemetry) -> None:
    """Each lost packet causes a retransmission."""
    with capture_logs() as lines:
        CharonAlerts(telemetry, timedelta).add(Alert("retransmit-send"))
        CharonAlerts(telemetry, timedelta).add(Alert("x" * 1000))
    assert lines == []
    assert telemetry.samples(metrics.CHARON_ALERTS) == {("retransmit-send",): 1, (OTHER,): 1}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("AES_GCM_16-256", ("AES_GCM_16-256", Strength.SOUND)),
        ("3DES_CBC", ("3DES_CBC", Strength.WEAK)),
        ("BLOWFISH_CBC-128", ("BLOWFISH_CBC", Strength.WEAK)),
        ("AES_GCM_16-257", ("other", Strength.UNKNOWN)),
        ("(1234)", ("other", Strength.UNKNOWN)),
    ],
)
def test_algorithms_are_a_closed_list(name: str, shown: tuple[str, Strength]) -> None:
    """An algorithm that is not in the list counts as ``other``, whatever its name."""
    assert label(name) == shown
