"""Counters and gauges."""

import pytest

from catalogue import CATALOGUE
from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.runtime.metrics import Kind
from dmvpn_agent.runtime.telemetry import Telemetry


def test_a_counter_counts_by_its_labels(telemetry: Telemetry) -> None:
    """Each set of label values is a series."""
    telemetry.increment(admission_metrics.DECISIONS, "accept", "")
    telemetry.increment(admission_metrics.DECISIONS, "accept", "")
    telemetry.increment(admission_metrics.DECISIONS, "deny", "no_certificate", by=3)
    assert telemetry.samples(admission_metrics.DECISIONS) == {("accept", ""): 2, ("deny", "no_certificate"): 3}
    assert telemetry.value(admission_metrics.DECISIONS, "deny", "no_certificate") == 3


def test_a_counter_starts_at_zero(telemetry: Telemetry) -> None:
    """A series without labels exists from the start."""
    assert telemetry.samples(kernel_metrics.NFTABLES_FAILURES) == {(): 0}
    assert telemetry.samples(admission_metrics.DECISIONS) == {}
    assert telemetry.value(admission_metrics.DECISIONS, "accept", "") == 0


def test_wrong_use_is_an_error(telemetry: Telemetry) -> None:
    """A wrong number of labels, or counting a gauge, is a mistake in the program."""
    with pytest.raises(ValueError, match="decisions takes the labels"):
        telemetry.increment(admission_metrics.DECISIONS, "accept")
    with pytest.raises(ValueError, match="peers takes the labels"):
        telemetry.increment(admission_metrics.PEERS, "bound")


def test_a_gauge_is_read_when_it_is_scraped(telemetry: Telemetry) -> None:
    """It has the current value; a boolean is 1 or 0."""
    state = {"up": False}
    telemetry.observe(kernel_metrics.REDIRECT_INSTALLED, lambda: state["up"])
    assert telemetry.value(kernel_metrics.REDIRECT_INSTALLED) == 0
    state["up"] = True
    assert telemetry.value(kernel_metrics.REDIRECT_INSTALLED) == 1


def test_a_counter_may_be_kept_elsewhere(telemetry: Telemetry) -> None:
    """It is read when it is scraped, as a gauge is."""
    telemetry.observe(kernel_metrics.NFTABLES_FAILURES, lambda: 3)
    assert telemetry.value(kernel_metrics.NFTABLES_FAILURES) == 3
    assert kernel_metrics.NFTABLES_FAILURES in telemetry.metrics()


def test_samples_are_a_copy(telemetry: Telemetry) -> None:
    """The scraping thread never iterates over a dictionary that grows."""
    telemetry.increment(admission_metrics.DECISIONS, "accept", "")
    before = telemetry.samples(admission_metrics.DECISIONS)
    telemetry.increment(admission_metrics.DECISIONS, "deny", "")
    assert before == {("accept", ""): 1}


def test_the_catalogue_follows_the_rules_of_prometheus() -> None:
    """Base units, no ``_total`` in a name (the exposition adds it), unique names, a help text for each."""
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert not metric.name.endswith("_total")
        assert metric.help.endswith(".")
        assert metric.kind in Kind
