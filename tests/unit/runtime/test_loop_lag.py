"""The lag of the event loop."""

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.loop_lag import WINDOW, LoopLag
from dmvpn_agent.runtime.telemetry import Telemetry


def test_the_longest_delay_of_the_last_minute_is_exported(telemetry: Telemetry) -> None:
    """Every scrape within a minute shows it; then it is dropped."""
    now = [0.0]
    lag = LoopLag(telemetry, lambda: now[0])
    assert telemetry.value(metrics.LOOP_LAG) == 0
    for moment, delay in ((0, 0.3), (10, 0.01), (20, 0.1), (30, 0.002)):
        now[0] = moment
        lag.note(delay)
    assert telemetry.value(metrics.LOOP_LAG) == 0.3
    now[0] = WINDOW + 5
    lag.note(0.001)
    assert telemetry.value(metrics.LOOP_LAG) == 0.1
    now[0] = 3 * WINDOW
    lag.note(0.001)
    assert telemetry.value(metrics.LOOP_LAG) == 0.001


def test_an_early_timer_is_not_a_delay(telemetry: Telemetry) -> None:
    lag = LoopLag(telemetry)
    lag.note(-0.001)
    assert telemetry.value(metrics.LOOP_LAG) == 0
