"""When ten times of both sides starting at once count as gone well."""

from types import SimpleNamespace
from typing import Any

import pytest

from dmvpn_lab.collision import Collisions

GOOD = {"most_ike_sas": 2, "one_ike_sa_after": 11.0, "direct_after": 2.0}


def observe(*times: dict[str, Any]) -> bool:
    lab: Any = SimpleNamespace(collisions=list(times))
    return Collisions(collided=1, settled=30, through=15).observe(lab).true


def test_all_within_their_bounds_is_true() -> None:
    """A time without a collision counts too, where there was one another time."""
    assert observe(GOOD, GOOD | {"most_ike_sas": 1})


@pytest.mark.parametrize(
    "bad",
    [
        {"most_ike_sas": 3},
        {"one_ike_sa_after": 31.0},
        {"one_ike_sa_after": None},
        {"direct_after": 16.0},
        {"direct_after": None},
    ],
)
def test_one_bad_time_is_enough(bad: dict[str, Any]) -> None:
    """A third IKE_SA, two that stay, or no packet in time is not true, however good the other times were."""
    assert not observe(GOOD | bad, GOOD)


def test_no_collision_shows_nothing() -> None:
    """Where the sides never met, or nothing was done, nothing is shown."""
    assert not observe(GOOD | {"most_ike_sas": 1})
    assert not observe()
