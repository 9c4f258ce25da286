"""SAs from list to list: an unchanged one is the same value, a changed one is the new value."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.charon.reuse_unchanged import ROUNDING, reuse_unchanged
from dmvpn_agent.charon.sa import ChildSa, IkeSa, Traffic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HUB, SPOKE = ip_address("203.0.113.1"), ip_address("203.0.113.2")
TIMES = st.one_of(st.none(), st.integers(-10, 10).map(lambda seconds: NOW + timedelta(seconds=seconds)))
CHILDREN = st.builds(
    ChildSa,
    unique_id=st.integers(1, 2), name=st.just("dmvpn"), state=st.sampled_from(("INSTALLED", "REKEYED")),
    spi_in=st.sampled_from(("a", "b")), spi_out=st.just("c"),
    traffic=st.builds(Traffic, st.integers(0, 1)),
    last_in=TIMES, last_out=TIMES, installed_at=TIMES, rekey_due=TIMES, expires=TIMES,
)  # fmt: skip
SAS = st.builds(
    IkeSa,
    unique_id=st.just(1), name=st.just("dmvpn"), state=st.sampled_from(("ESTABLISHED", "REKEYING")),
    local_host=st.just(HUB), remote_host=st.just(SPOKE), remote_port=st.sampled_from((500, 4500)),
    local_id=st.just("hub"), remote_id=st.just("spoke"),
    initiator_spi=st.sampled_from(("1", "2")), responder_spi=st.just("3"),
    children=st.lists(CHILDREN, max_size=2, unique_by=lambda child: child.spis).map(tuple),
    established_at=TIMES, rekey_due=TIMES, reauth_due=TIMES,
)  # fmt: skip
SA_TIMES = ("established_at", "rekey_due", "reauth_due")
CHILD_TIMES = ("last_in", "last_out", "installed_at", "rekey_due", "expires")
CHILD = ChildSa(1, "dmvpn", "INSTALLED", spi_in="a", spi_out="b", last_in=NOW, installed_at=NOW, expires=NOW)
SA = IkeSa(1, "dmvpn", "ESTABLISHED", HUB, SPOKE, 500, "hub", "spoke", "1", "2", (CHILD,), established_at=NOW)
JITTER = timedelta(seconds=1)


def _without(value: Any, times: tuple[str, ...], **more: Any) -> Any:
    return replace(value, **dict.fromkeys(times), **more)


def _near(one: datetime | None, other: datetime | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= ROUNDING)


@given(SAS, SAS)
def test_only_times_differ_and_only_by_the_rounding(sa: IkeSa, former: IkeSa) -> None:
    """All other fields are those of the new list, in its order, whatever the former value was."""
    steady = reuse_unchanged(sa, former)
    assert _without(steady, SA_TIMES, children=()) == _without(sa, SA_TIMES, children=())
    assert all(_near(getattr(steady, time), getattr(sa, time)) for time in SA_TIMES)
    assert len(steady.children) == len(sa.children)
    for one, other in zip(steady.children, sa.children, strict=True):
        assert _without(one, CHILD_TIMES) == _without(other, CHILD_TIMES)
        assert all(_near(getattr(one, time), getattr(other, time)) for time in CHILD_TIMES)


@given(SAS)
def test_a_value_of_another_ike_sa_is_not_reused(sa: IkeSa) -> None:
    """A restarted charon uses the same unique ids again."""
    assert reuse_unchanged(sa, None) is sa
    assert reuse_unchanged(sa, replace(sa, initiator_spi="another", established_at=NOW)) is sa


def test_an_unchanged_ike_sa_is_the_same_value() -> None:
    """charon's whole seconds make all of its times differ."""
    child = replace(CHILD, last_in=NOW + JITTER, installed_at=NOW - JITTER, expires=NOW + JITTER)
    assert reuse_unchanged(replace(SA, established_at=NOW - JITTER, children=(child,)), SA) is SA


def test_an_unchanged_child_sa_is_the_same_value() -> None:
    """A new one beside it makes no difference."""
    new = replace(CHILD, unique_id=2, spi_in="c")
    steady = reuse_unchanged(replace(SA, children=(new, replace(CHILD, expires=NOW + JITTER))), SA)
    assert steady.children[0] is new
    assert steady.children[1] is CHILD


@pytest.mark.parametrize("field", ["last_in", "last_out"])
def test_after_traffic_the_time_of_use_is_the_new_one(field: str) -> None:
    """The former time is not kept, although it is close."""
    used: dict[str, Any] = {field: NOW + JITTER}
    child = replace(CHILD, traffic=Traffic(1), **used)
    assert getattr(reuse_unchanged(replace(SA, children=(child,)), SA).children[0], field) == NOW + JITTER


def test_reused_times_do_not_drift() -> None:
    """If rounding always goes one way, a time is never off by more than the rounding."""
    shown = SA
    for seconds in range(10):
        now = replace(SA, established_at=NOW + timedelta(seconds=seconds))
        shown = reuse_unchanged(now, shown)
        assert _near(shown.established_at, now.established_at)
