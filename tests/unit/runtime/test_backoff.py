"""How long to wait before the next attempt, and how often to report a trouble."""

import pytest

from dmvpn_agent.runtime.backoff import Backoff, Trouble, Troubles


class Seconds:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def backoff(clock: Seconds) -> Backoff:
    return Backoff(0.5, 5, lasting=30, clock=clock)


def test_the_first_attempt_does_not_wait(backoff: Backoff) -> None:
    assert backoff.delay == 0


def test_each_failure_doubles_the_wait_up_to_the_longest(backoff: Backoff) -> None:
    assert [backoff.failed() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_ten_thousand_failures_do_not_overflow(backoff: Backoff) -> None:
    for _ in range(10_000):
        assert backoff.failed() <= 5


def test_an_attempt_that_began_and_ended_at_once_is_a_failure(backoff: Backoff, clock: Seconds) -> None:
    """The agent does not reconnect without pause to a daemon that accepts and closes."""
    waits = []
    for _ in range(4):
        backoff.begin()
        clock.now += 0.01
        waits.append(backoff.failed())
    assert waits == [0.5, 1, 2, 4]


def test_after_an_attempt_that_lasted_the_wait_is_the_first_one(backoff: Backoff, clock: Seconds) -> None:
    for _ in range(4):
        backoff.failed()
    backoff.begin()
    clock.now += 30
    assert backoff.failed() == 0.5


def test_a_back_off_is_settled_without_failures_and_after_an_attempt_that_lasted(
    backoff: Backoff, clock: Seconds
) -> None:
    settled = [backoff.settled]
    backoff.failed()
    backoff.begin()
    settled.append(backoff.settled)
    clock.now += 30
    settled.append(backoff.settled)
    assert settled == [True, False, True]


def test_success_makes_the_next_wait_short(backoff: Backoff) -> None:
    for _ in range(4):
        backoff.failed()
    backoff.succeeded()
    assert (backoff.delay, backoff.failed()) == (0, 0.5)


def test_the_delay_is_what_is_left_of_the_wait(backoff: Backoff, clock: Seconds) -> None:
    backoff.failed()
    clock.now += 0.2
    assert backoff.delay == pytest.approx(0.3)
    clock.now += 1
    assert backoff.delay == 0


def test_a_trouble_is_new_once_until_it_is_over() -> None:
    trouble = Trouble()
    assert [trouble.is_new("down"), trouble.is_new("down"), trouble.is_new("refused")] == [True, False, True]
    assert (trouble.over(), trouble.text, trouble.over()) == ("refused", None, None)
    assert trouble.is_new("refused")


def test_a_trouble_that_stays_is_new_again_after_the_interval(clock: Seconds) -> None:
    """The report says how often it came in between; the next report counts from 0."""
    trouble = Trouble(60, clock)
    reports = []
    for _ in range(6):
        reports.append(trouble.repeats if trouble.is_new("down") else None)
        clock.now += 25
    assert reports == [0, None, None, 2, None, None]


def test_another_trouble_reports_how_often_the_former_one_came() -> None:
    trouble = Trouble()
    for _ in range(3):
        trouble.is_new("down")
    assert (trouble.is_new("refused"), trouble.repeats) == (True, 2)


def test_of_several_troubles_those_that_appear_are_new() -> None:
    """One that was over and comes again is new."""
    troubles = Troubles[str]()
    assert [troubles.new(present) for present in ("ab", "bcc", "", "b")] == [["a", "b"], ["c"], [], ["b"]]
