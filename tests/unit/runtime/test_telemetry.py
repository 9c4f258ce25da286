"""Counters and gauges."""

import pytest

from catalogue import CATALOGUE
from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.metrics import Kind
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def test_a_counter_counts_by_its_labels(telemetry: Telemetry) -> None:
    """Each set of label values is a series."""
    telemetry.increment(admission_metrics.DECISIONS, "accept", "")
    telemetry.increment(admission_metrics.DECISIONS, "accept", "")
    telemetry.increment(admission_metrics.DECISIONS, "deny", "no_certificate", by=3)
    assert telemetry.samples(admission_metrics.DECISIONS) == {("accept", ""): 2, ("deny", "no_certificate"): 3}
    assert telemetry.value(admission_metrics.DECISIONS, "deny", "no_certificate") == 3


def test_a_counter_starts_at_zero(telemetry: Telemetry) -> None:
    """Of a process that counts it, each series of closed labels exists from the start."""
    assert telemetry.samples(admission_metrics.DECISIONS) == {}
    telemetry.expect(admission_metrics, kernel_metrics.NFTABLES_FAILURES)
    assert telemetry.samples(kernel_metrics.NFTABLES_FAILURES) == {(): 0}
    denied: Samples = {("deny", str(reason)): 0 for reason in Reason}
    assert telemetry.samples(admission_metrics.DECISIONS) == {("accept", ""): 0, **denied}
    assert telemetry.samples(admission_metrics.OVERLOOKED_CLAIMS) == {(): 0}


def test_to_expect_a_counter_again_changes_nothing(telemetry: Telemetry) -> None:
    """What was counted stays."""
    telemetry.increment(kernel_metrics.NFTABLES_FAILURES)
    telemetry.expect(kernel_metrics)
    assert telemetry.value(kernel_metrics.NFTABLES_FAILURES) == 1


def test_a_histogram_counts_in_buckets(telemetry: Telemetry) -> None:
    """A value on a bound is inside it; buckets are cumulative; the sum is that of the values."""
    telemetry.record(admission_metrics.DECISION_DURATION, 0.001, "accept")
    telemetry.record(admission_metrics.DECISION_DURATION, 3, "accept")
    telemetry.record(admission_metrics.DECISION_DURATION, 11, "accept")
    (family,) = telemetry.families()
    series = family.distributions["accept",]
    assert series.counts == (1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3)
    assert series.total == 14.001
    assert telemetry.value(admission_metrics.DECISION_DURATION, "accept") == 3


def test_metrics_read_together_are_of_one_moment(telemetry: Telemetry) -> None:
    """One call for all of them; one that is missing in the result has no series."""
    calls = iter(range(1, 9))
    wanted = (kernel_metrics.REDIRECT_INSTALLED, kernel_metrics.TUNNEL_UP)
    telemetry.observe_together(wanted, lambda: {wanted[0]: {(): next(calls)}})
    assert [(family.metric, family.samples) for family in telemetry.families()] == [
        (wanted[0], {(): 1}),
        (wanted[1], {}),
    ]


def test_a_gauge_may_be_set(telemetry: Telemetry) -> None:
    """It keeps its value until it is set again."""
    telemetry.set(runtime_metrics.SOURCE_UP, True, "charon")
    telemetry.set(runtime_metrics.SOURCE_UP, False, "charon")
    assert telemetry.samples(runtime_metrics.SOURCE_UP) == {("charon",): 0}


def test_wrong_use_is_an_error(telemetry: Telemetry) -> None:
    """A wrong number of labels, or counting a gauge, is a mistake in the program."""
    with pytest.raises(ValueError, match="decisions takes the labels"):
        telemetry.increment(admission_metrics.DECISIONS, "accept")
    with pytest.raises(ValueError, match="peers takes the labels"):
        telemetry.increment(admission_metrics.PEERS, "bound")
    with pytest.raises(ValueError, match="decisions takes the labels"):
        telemetry.set(admission_metrics.DECISIONS, 1, "accept", "")
    with pytest.raises(ValueError, match="decision_duration_seconds takes the labels"):
        telemetry.record(admission_metrics.DECISION_DURATION, 1)


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
    assert [family.metric for family in telemetry.families()] == [kernel_metrics.NFTABLES_FAILURES]


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
