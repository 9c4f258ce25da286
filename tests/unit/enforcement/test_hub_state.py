"""The state machine that keeps an IKE_SA with a hub."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.enforcement.hub_state import HUB_RESTARTED, UNREGISTERED, Action, Ask, End, HubState
from factories import NBMA, NOW, Clock

LOCAL = NBMA - 1


def sa(number: int = 1, *, age: float = 100, local: Any = LOCAL, child: str = "INSTALLED", **fields: Any) -> IkeSa:
    """Return an IKE_SA that was established ``age`` seconds before ``NOW``."""
    children = (ChildSa(number, "dmvpn", child),)
    since = NOW - timedelta(seconds=age)
    return IkeSa(number, "dmvpn", "ESTABLISHED", local, NBMA, 500, "CN=spoke", "CN=hub", f"{number:x}", "0",
                 children, established_at=since, **fields)  # fmt: skip


class Hub:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = HubState()
        self.actions: list[tuple[float, Action]] = []

    def go(self, seconds: float, *sas: IkeSa, registered: bool = True) -> list[tuple[float, Action]]:
        """Let time go by in steps of half a second; return the actions, each with its time."""
        actions: list[tuple[float, Action]] = []
        for number in range(int(seconds * 2) + 1):
            if number:
                self.clock.advance(0.5)
            if action := self.state.step(self.clock.uptime(), LOCAL, sas, registered=registered):
                actions.append((number / 2, action))
        return actions


@pytest.fixture
def hub(clock: Clock) -> Hub:
    return Hub(clock)


def test_a_hub_that_is_there_needs_nothing(hub: Hub) -> None:
    """One IKE_SA, registered."""
    assert hub.go(600, sa()) == []
    assert hub.state.settled


def test_a_hub_without_an_ike_sa_is_asked_for_ever_less_often(hub: Hub) -> None:
    """nhrpd asks at first; then nobody would for a quarter of the holding time."""
    assert [at for at, _ in hub.go(120)] == [1, 3, 7, 15, 31, 61, 91]


def test_after_a_change_of_links_it_is_asked_for_at_once(hub: Hub) -> None:
    """The uplink is back."""
    hub.go(60)
    hub.state.hurry()
    assert hub.go(0) == [(0, Ask())]


@pytest.mark.parametrize(
    "unusable", [sa(local=LOCAL - 1), sa(child="CREATED")], ids=["former address", "no CHILD_SA"]
)
def test_an_ike_sa_that_carries_nothing_does_not_count(hub: Hub, unusable: IkeSa) -> None:
    """charon keeps that of an address that is gone until dead peer detection ends it."""
    assert hub.go(1, unusable) == [(1, Ask())]


def test_without_a_registration_the_ike_sa_is_ended(hub: Hub) -> None:
    """nhrpd's next registration may be a minute away; a new circuit makes it register at once."""
    one = sa()
    assert hub.go(41, one, registered=False) == [(20, End((one,), UNREGISTERED)), (40, End((one,), UNREGISTERED))]


def test_a_registration_in_time_ends_nothing(hub: Hub) -> None:
    """Also if there have been others before."""
    for _ in range(10):
        assert hub.go(19, sa(), registered=False) == []
        assert hub.go(1, sa()) == []


class TestSecond:
    """A second IKE_SA with the hub."""

    def test_one_that_the_hub_began_late_says_that_it_lost_the_first(self, hub: Hub) -> None:
        """Both are ended: nhrpd registers only when the circuit goes and comes back."""
        both = sa(1, initiator=True), sa(2, age=0)
        assert hub.go(1, *both) == [(1, End(both, HUB_RESTARTED))]

    def test_a_reauthentication_deletes_the_first_in_time(self, hub: Hub) -> None:
        """The hub began the second, and ends the first."""
        assert hub.go(0.5, sa(1), sa(2, age=0)) == []
        assert hub.go(10, sa(2)) == []

    @pytest.mark.parametrize(
        "second",
        [sa(2, age=0, initiator=True), sa(2, age=95)],
        ids=["that this node began", "that both started at once"],
    )
    def test_others_stay(self, hub: Hub, second: IkeSa) -> None:
        """The bridge ends duplicates."""
        assert hub.go(20, sa(1), second) == []

    def test_two_hubs_behind_one_address_are_two(self, hub: Hub) -> None:
        """The identities differ."""
        other = IkeSa(2, "dmvpn", "ESTABLISHED", LOCAL, NBMA, 4501, "CN=spoke", "CN=hub2", "2", "0",
                      (ChildSa(2, "dmvpn", "INSTALLED"),), established_at=NOW)  # fmt: skip
        assert hub.go(20, sa(1), other) == []
