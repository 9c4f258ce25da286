"""The series of a source: whether it can be read, and how long a read takes."""

import pytest

from dmvpn_agent.runtime.metrics import SOURCE_READ_DURATION, SOURCE_UP
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Telemetry


@pytest.mark.parametrize("name", list(SourceName))
def test_a_read_that_fails_is_timed_too(name: SourceName, telemetry: Telemetry) -> None:
    """What failed last counts, until a read succeeds."""
    source = Source(name, telemetry)
    assert telemetry.samples(SOURCE_UP) == {}
    for fails in (False, True, False):
        try:
            with source.read():
                assert not fails
        except AssertionError:
            pass
        assert telemetry.samples(SOURCE_UP) == {(name,): not fails}
    assert telemetry.value(SOURCE_READ_DURATION, name) == 3
