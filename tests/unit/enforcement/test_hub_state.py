"""The state machine that keeps an IKE_SA with a hub."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.enforcement.hub_state import HUB_RESTARTED, UNREGISTERED, Ask, HubState, Probe
from dmvpn_agent.enforcement.patience import Lack
from factories import NBMA, NOW, Clock

LOCAL = NBMA - 1


def sa(
    number: int = 1, *, age: float = 100, local: Any = LOCAL, child: str = "INSTALLED", spi: str = "", **fields: Any
) -> IkeSa:
    """Return an IKE_SA that was established ``age`` seconds before ``NOW``; ``spi`` is its CHILD_SA's."""
    children = (ChildSa(number, "dmvpn", child, spi_in=spi or f"{number:x}"),)
    since = NOW - timedelta(seconds=age)
    return IkeSa(number, "dmvpn", "ESTABLISHED", local, NBMA, 500, "CN=spoke", "CN=hub", f"{number:x}", "0",
                 children, established_at=since, **fields)  # fmt: skip


class Hub:
    """``lacks``: the causes at the last step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.state = HubState()
        self.lacks: list[str] = []

    def go(self, seconds: float, *sas: IkeSa, registered: bool = True) -> list[tuple[float, Ask | Probe]]:
        """Let time go by in steps of half a second; return what was asked, each with its time."""
        asked: list[tuple[float, Ask | Probe]] = []
        for number in range(int(seconds * 2) + 1):
            if number:
                self.clock.advance(0.5)
            actions = self.state.step(self.clock.uptime(), LOCAL, sas, registered=registered)
            self.lacks = [action.cause for action in actions if isinstance(action, Lack)]
            asked += [(number / 2, action) for action in actions if not isinstance(action, Lack)]
        return asked

    def lack(self, *sas: IkeSa) -> Lack:
        """Return what is missing now, without a registration."""
        (lack,) = self.state.step(self.clock.uptime(), LOCAL, sas, registered=False)
        assert isinstance(lack, Lack)
        return lack


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


def test_a_registration_that_is_missing_is_so_from_the_newest_ike_sa(hub: Hub) -> None:
    """nhrpd starts again with each circuit; one that went changes nothing."""
    first = hub.lack(sa(1))
    hub.clock.advance(7)
    second = hub.lack(sa(1), sa(2, age=95))
    assert (first.cause, second.since - first.since) == (UNREGISTERED, timedelta(seconds=7))
    hub.clock.advance(7)
    assert hub.lack(sa(2, age=95)).since == second.since


def test_a_registration_that_is_there_is_not_missing(hub: Hub) -> None:
    """However late it came."""
    hub.go(19, sa(), registered=False)
    hub.go(0, sa())
    assert (hub.lacks, hub.state.settled) == ([], True)


class TestSecond:
    """A second IKE_SA with the hub."""

    def test_a_hub_that_does_not_answer_on_the_first_has_lost_it(self, hub: Hub) -> None:
        """A second after it was asked; all IKE_SAs end, because nhrpd registers only when the circuit comes."""
        first, second = sa(1, initiator=True), sa(2, age=0)
        assert hub.go(0.5, first, second) == [(0, Probe(first))]
        assert hub.lacks == []
        assert hub.go(0.5, first, second) == []
        assert hub.lacks == [HUB_RESTARTED]

    def test_one_that_went_again_leaves_the_first_in_doubt(self, hub: Hub) -> None:
        """The hub's agent ended it because its nhrpd has no binding."""
        hub.go(0, sa(1), sa(2, age=0))
        hub.go(2, sa(1))
        assert hub.lacks == [HUB_RESTARTED]

    def test_an_answer_is_a_new_child_sa(self, hub: Hub) -> None:
        """The hub has not lost the first; it is not asked again."""
        hub.go(0.5, sa(1), sa(2, age=0))
        assert hub.go(600, sa(1, spi="new"), sa(2, age=0)) == []
        assert (hub.lacks, hub.state.settled) == ([], True)

    def test_a_third_one_is_another_reason_to_ask(self, hub: Hub) -> None:
        """The hub was restarted after it had answered."""
        hub.go(0.5, sa(1), sa(2, age=50))
        answered = sa(1, spi="new")
        hub.go(1, answered, sa(2, age=50))
        asked = hub.go(1, answered, sa(2, age=50), sa(3, age=0))
        assert {one for _, one in asked} == {Probe(answered), Probe(sa(2, age=50))}

    def test_a_reauthentication_deletes_the_first_in_time(self, hub: Hub) -> None:
        """The hub began the second, and ends the first."""
        hub.go(0.5, sa(1), sa(2, age=0))
        assert hub.go(10, sa(2)) == []
        assert hub.lacks == []

    def test_rekeying_leaves_one_without_a_child_sa(self, hub: Hub) -> None:
        """charon keeps it for a moment."""
        assert hub.go(10, sa(1, child="REKEYED"), sa(2, age=0)) == []

    @pytest.mark.parametrize(
        "second",
        [sa(2, age=0, initiator=True), sa(2, age=95)],
        ids=["that this node began", "that both started at once"],
    )
    def test_others_stay(self, hub: Hub, second: IkeSa) -> None:
        """The bridge ends duplicates."""
        assert hub.go(20, sa(1), second) == []
        assert hub.lacks == []

    def test_two_hubs_behind_one_address_are_two(self, hub: Hub) -> None:
        """The identities differ."""
        other = IkeSa(2, "dmvpn", "ESTABLISHED", LOCAL, NBMA, 4501, "CN=spoke", "CN=hub2", "2", "0",
                      (ChildSa(2, "dmvpn", "INSTALLED"),), established_at=NOW)  # fmt: skip
        assert hub.go(20, sa(1), other) == []
        assert hub.lacks == []
