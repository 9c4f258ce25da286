"""charon's alerts in the log, and the closed lists behind labels."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from dmvpn_agent.charon import alert_kinds as alert
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.alerts import LOG_INTERVAL, CharonAlerts
from dmvpn_agent.charon.algorithms import Strength, label
from dmvpn_agent.runtime.telemetry import Telemetry


def test_each_kind_is_said_once_an_interval(telemetry: Telemetry) -> None:
    """However many come; the next line says how many were not said."""
    time = timedelta()
    alerts = CharonAlerts(telemetry, lambda: time)
    with capture_logs() as lines:
        for _ in range(1000):
            alerts.heard("peer-auth-failed", None)
        alerts.heard("cert-expired", None)
        time += timedelta(seconds=LOG_INTERVAL + 1)
        alerts.heard("peer-auth-failed", None)
    assert [(line["kind"], line["more_since_last"]) for line in lines] == [
        ("peer-auth-failed", 0), ("cert-expired", 0), ("peer-auth-failed", 999),
    ]  # fmt: skip
    assert telemetry.value(metrics.CHARON_ALERTS, "peer-auth-failed") == 1001


def test_what_nobody_can_act_on_is_counted_only(telemetry: Telemetry) -> None:
    """Retransmissions come with every lost packet."""
    with capture_logs() as lines:
        CharonAlerts(telemetry, timedelta).heard("retransmit-send", None)
        CharonAlerts(telemetry, timedelta).heard("x" * 1000, None)
    assert lines == []
    assert telemetry.samples(metrics.CHARON_ALERTS) == {("retransmit-send",): 1, (alert.OTHER,): 1}


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
