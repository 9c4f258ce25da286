"""Unreadable items are skipped, counted, and logged once."""

from typing import Any

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import REMEMBERED, ItemSource, Unreadable


def test_every_source_is_counted_from_the_start() -> None:
    """A rate needs a first value."""
    telemetry = Telemetry()
    Unreadable(telemetry)
    assert telemetry.samples(metrics.UNREADABLE) == {(source,): 0 for source in ItemSource}


def test_an_item_is_logged_once_and_counted_each_time(logs: list[dict[str, Any]]) -> None:
    """In text that is safe for a terminal."""
    telemetry = Telemetry()
    unreadable = Unreadable(telemetry)
    for _ in range(3):
        unreadable.skip(ItemSource.NHRP_CACHE, "a", "\x1b[2J")
    unreadable.skip(ItemSource.NHRP_CACHE, "b", "x" * 10_000)
    assert telemetry.value(metrics.UNREADABLE, ItemSource.NHRP_CACHE) == 4
    assert [len(entry["why"]) for entry in logs] == [7, 300]
    assert logs[0]["why"] == "\\x1b[2J"


def test_a_source_that_sends_ever_new_items_does_not_fill_the_log(logs: list[dict[str, Any]]) -> None:
    """The number of logged items is limited for each source by itself."""
    unreadable = Unreadable(Telemetry())
    for number in range(2 * REMEMBERED):
        unreadable.skip(ItemSource.CERTIFICATE_CACHE, number, "odd")
    unreadable.skip(ItemSource.IKE_SA, 1, "odd")
    assert len(logs) == REMEMBERED + 1
