"""What the bridge announces to nhrpd, whatever charon lists and whichever events it sends."""

from collections.abc import Iterable, Sequence, Set
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dmvpn_agent.bridge.circuit_table import Announcements, CircuitTable, Pair
from dmvpn_agent.charon.events import ChildChange
from dmvpn_agent.charon.sa import ChildSa, Circuit, IkeSa, addresses, circuits, same_circuit

STATES = st.sampled_from(["INSTALLED", "INSTALLED", "REKEYING", "REKEYED", "DELETING", "DELETED", "CREATED"])
CHILDREN = st.dictionaries(st.integers(1, 6), STATES, max_size=4)
IKE_IDS = st.sets(st.integers(1, 3))
EVENTS = st.lists(st.builds(ChildChange, st.integers(1, 6), st.booleans()), max_size=6)


@st.composite
def listings(draw: st.DrawFn, moving: bool = False) -> dict[int, IkeSa]:
    """What charon may list. Only while a CHILD_SA is ``moving`` can it be in two IKE_SAs."""
    found, used = {}, set[int]()
    for number in draw(IKE_IDS):
        children = {key: state for key, state in draw(CHILDREN).items() if moving or key not in used}
        used |= children.keys()
        found[number] = IkeSa(
            number, "dmvpn", draw(st.sampled_from(["ESTABLISHED", "REKEYED", "DELETING"])), ip_address("203.0.113.1"),
            ip_address(f"203.0.113.{draw(st.integers(2, 3))}"), 500, "CN=hub", f"CN=spoke{number}",
            f"{draw(st.integers(1, 2)):x}", "0",
            tuple(ChildSa(key, "dmvpn", state) for key, state in children.items()),
        )  # fmt: skip
    return found


class NaiveTable:
    """The same rules without an index: after each listing everything is computed from all that is known."""

    def __init__(self, announced: Iterable[Circuit]) -> None:
        self.announced = {child.unique_id: (sa, child) for sa, child in announced}
        self.sas: dict[int, IkeSa] = {}
        self.never_listed = set(self.announced)
        self.absent_before: set[int] = set()
        self.early_events: list[ChildChange] = []

    def announce_early(self, circuit: Circuit) -> bool:
        sa, child = circuit
        pairs = {addresses(other) for other, _ in self.announced.values()}
        if addresses(sa) in pairs or child.unique_id in self.announced or self.early_events or not child.installed:
            return False
        self.announced[child.unique_id] = circuit
        self.never_listed.add(child.unique_id)
        return True

    def update(self, listed: dict[int, IkeSa], new: list[ChildChange], of: Set[int]) -> Announcements:
        replaced = [sa for key, sa in self.sas.items() if key in of]
        self.sas = {key: sa for key, sa in self.sas.items() if key not in of} | listed
        in_any_state, current = _children(self.sas.values()), circuits(self.sas.values())
        other = self.never_listed - _children(replaced) - _children(listed.values())
        other = {key for key in other if self.announced[key][0].unique_id not in of}
        early = self.not_shown(new, current.keys() | other)
        events = self.early_events + new
        decided = events[: len(events) - len(early)]
        arrivals = {event.unique_id for event in early if event.came}
        arrivals -= self.announced.keys() | current.keys() | {event.unique_id for event in early if not event.came}
        absent = self.announced.keys() - current.keys() - other
        unconfirmed = {
            key
            for key in absent - self.absent_before - (set() if arrivals else in_any_state)
            if not any(event.unique_id == key and not event.came for event in decided)
        }
        down = {key for key in absent - unconfirmed if self.was_interrupted(key, events, current)}
        gone = absent - unconfirmed - down
        changed = [
            circuit
            for key, circuit in current.items()
            if key not in self.announced or not same_circuit(self.announced[key], circuit)
        ]
        former = self.announced
        self.early_events = early
        self.announced = {key: former[key] for key in unconfirmed | other} | current
        self.never_listed, self.absent_before = other, unconfirmed
        return Announcements(_circuits(former, down), changed, _circuits(former, gone), bool(unconfirmed))

    def was_interrupted(self, key: int, events: list[ChildChange], current: dict[int, Circuit]) -> bool:
        """Tell whether, after some event, the circuit had ended and its pair of addresses had none."""
        pair = addresses(self.announced[key][0])
        of_pair = {other for other, (sa, _) in (current | self.announced).items() if addresses(sa) == pair}
        for count in range(1, len(events) + 1):
            last = {event.unique_id: event.came for event in events[:count]}
            if last.get(key) is False and not any(last.get(other, other in self.announced) for other in of_pair):
                return True
        return False

    @staticmethod
    def not_shown(events: list[ChildChange], up: Set[int]) -> list[ChildChange]:
        """Return the events from the first one on that the listing does not show."""
        ended = {event.unique_id for event in events if not event.came}
        shown = [event.unique_id in up | ended if event.came else event.unique_id not in up for event in events]
        return events[shown.index(False) :] if False in shown else []


class CircuitTableMachine(RuleBasedStateMachine):
    """A table, its naive model, and an nhrpd that follows the announcements (CHILD_SA → pair of addresses)."""

    @initialize(handed_over=listings())
    def start(self, handed_over: dict[int, IkeSa]) -> None:
        circuits_ = circuits(handed_over.values()).values()
        self.table, self.naive = CircuitTable(circuits_), NaiveTable(circuits_)
        self.nhrpd = {child.unique_id: addresses(sa) for sa, child in circuits_}

    @rule(sas=listings(moving=True), events=EVENTS)
    def list_all(self, sas: dict[int, IkeSa], events: list[ChildChange]) -> None:
        former = frozenset(sa.unique_id for sa, _ in self.naive.announced.values())
        expected = self.naive.update(sas, events, former | self.naive.sas.keys() | sas.keys())
        self.check(self.table.update(sas, events), expected)

    @rule(sas=listings(moving=True), events=EVENTS, of=IKE_IDS)
    def list_some(self, sas: dict[int, IkeSa], events: list[ChildChange], of: set[int]) -> None:
        listed = {key: sa for key, sa in sas.items() if key in of}
        expected = self.naive.update(listed, events, of)
        self.check(self.table.update(listed, events, of), expected)

    @rule(sas=listings())
    def events_show_circuits(self, sas: dict[int, IkeSa]) -> None:
        for sa, child in ((one, child) for one in sas.values() for child in one.children):
            early = self.table.announce_early((sa, child))
            assert early == self.naive.announce_early((sa, child))
            if early:
                self.nhrpd[child.unique_id] = addresses(sa)

    @invariant()
    def table_is_as_the_model(self) -> None:
        announced = self.naive.announced
        assert (self.table.announced, self.table.sas) == (announced, self.naive.sas)
        assert self.nhrpd == {key: addresses(sa) for key, (sa, _) in announced.items()}
        sharing = set[int]()
        for pair in set(self.nhrpd.values()):
            keys = {key for key, other in self.nhrpd.items() if other == pair}
            assert {child.unique_id for _, child in self.table.between(*pair)} == keys
            sharing |= {announced[key][0].unique_id for key in keys} if len(keys) > 1 else set()
        assert sorted(sa.unique_id for sa in self.table.duplicates()) == sorted(sharing & self.naive.sas.keys())

    def check(self, announcements: Announcements, expected: Announcements) -> None:
        assert _comparable(announcements) == _comparable(expected)
        before, moved, emptied = dict(self.nhrpd), set[Pair](), set[Pair]()
        for circuit in (*announcements.interrupted, *announcements.installed, *announcements.destroyed):
            key, pair = circuit[1].unique_id, addresses(circuit[0])
            if circuit in announcements.installed:
                moved |= {before[key]} if before.get(key, pair) != pair else set()
                self.nhrpd[key] = pair
            else:
                del self.nhrpd[key]
            emptied |= set(before.values()) - set(self.nhrpd.values())
        interrupted = {addresses(sa) for sa, _ in announcements.interrupted}
        kept = set(before.values()) & set(self.nhrpd.values())
        assert emptied & kept <= interrupted | moved


CircuitTableMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=12)
TestCircuitTable = CircuitTableMachine.TestCase


def _children(sas: Iterable[IkeSa]) -> set[int]:
    return {child.unique_id for sa in sas for child in sa.children}


def _circuits(announced: dict[int, Circuit], keys: Set[int]) -> list[Circuit]:
    return [announced[key] for key in keys]


def _comparable(announcements: Announcements) -> tuple[object, ...]:
    parts = (announcements.interrupted, announcements.installed, announcements.destroyed)
    return (*({child.unique_id: (sa, child) for sa, child in part} for part in parts), announcements.unconfirmed)


@given(st.lists(st.tuples(listings(), EVENTS)))
def test_after_a_second_listing_nhrpd_has_what_charon_lists(
    history: list[tuple[dict[int, IkeSa], list[ChildChange]]],
) -> None:
    """After the first, it also has circuits that are unconfirmed."""
    table = CircuitTable()
    nhrpd: set[int] = set()
    for sas, events in history:
        for again in (False, True):
            announcements = table.update(sas, [] if again else events)
            interrupted, installed, destroyed = (
                {child.unique_id for _, child in part}
                for part in (announcements.interrupted, announcements.installed, announcements.destroyed)
            )
            assert interrupted | destroyed <= nhrpd
            assert not (interrupted | installed) & destroyed
            nhrpd = ((nhrpd - interrupted) | installed) - destroyed
            assert nhrpd == table.announced.keys()
            assert nhrpd >= circuits(sas.values()).keys()
            assert announcements.unconfirmed == (nhrpd != circuits(sas.values()).keys())
        assert not announcements.unconfirmed


@given(listings(), listings())
def test_evidence_needs_no_second_listing(before: dict[int, IkeSa], after: dict[int, IkeSa]) -> None:
    """A circuit is withdrawn at once if an event ended its CHILD_SA, or if charon lists it without traffic."""
    table = CircuitTable()
    table.update(before, [])
    gone = table.announced.keys() - circuits(after.values()).keys()
    announcements = table.update(after, [ChildChange(key, False) for key in gone])
    assert {child.unique_id for _, child in (*announcements.interrupted, *announcements.destroyed)} == gone
    assert not announcements.unconfirmed


@given(listings())
def test_the_same_listing_again_changes_nothing(sas: dict[int, IkeSa]) -> None:
    """Neither for this table, nor for one that took over the announced circuits."""
    table = CircuitTable()
    table.update(sas, [])
    for again in (table, CircuitTable(table.announced.values())):
        assert again.update(sas, []) == Announcements()
        assert not again.is_of_another_charon(sas.values())


def _sa(number: int, *children: int, remote: str = "203.0.113.2") -> IkeSa:
    installed = tuple(ChildSa(key, "dmvpn", "INSTALLED") for key in children)
    return IkeSa(number, "dmvpn", "ESTABLISHED", ip_address("203.0.113.1"), ip_address(remote), 500, "CN=hub",
                 "CN=spoke", f"{number:x}", "0", installed)  # fmt: skip


def _came(key: int) -> ChildChange:
    return ChildChange(key, True)


def _ended(key: int) -> ChildChange:
    return ChildChange(key, False)


def _keys(announced: Sequence[Circuit]) -> list[int]:
    return [child.unique_id for _, child in announced]


@pytest.mark.parametrize(
    ("events", "interrupted"),
    [
        ([_ended(1), _came(2)], [1]),
        ([_came(2), _ended(1)], []),
        ([_ended(1)], [1]),
        ([], []),
        ([_came(3), _ended(1), _ended(3), _came(2)], [1]),
    ],
    ids=[
        "ended, then came",
        "came, then ended",
        "ended, and listed again",
        "no event",
        "one between is gone again",
    ],
)
def test_announcements_keep_the_order_of_events(events: list[ChildChange], interrupted: list[int]) -> None:
    """nhrpd sees an interruption if there was one, and only then, however late the listing is."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    announcements = table.update({2: _sa(2, 2)}, events)
    assert _keys(announcements.interrupted) == interrupted
    assert _keys(announcements.installed) == [2]
    assert not (interrupted and announcements.destroyed)


def test_an_interruption_of_several_circuits_leaves_nhrpd_none_of_them() -> None:
    """If two IKE_SAs with a peer ended before a third came, nhrpd has no circuit in between."""
    table = CircuitTable()
    table.update({1: _sa(1, 1), 2: _sa(2, 2)}, [])
    announcements = table.update({3: _sa(3, 3)}, [_ended(1), _ended(2), _came(3)])
    assert _keys(announcements.interrupted) == [1, 2]
    assert _keys(announcements.installed) == [3]
    assert not announcements.destroyed


def test_an_event_before_its_listing_keeps_its_place() -> None:
    """An end that only the next listing shows comes before the circuit that followed it."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    assert table.update({1: _sa(1, 1)}, [_ended(1), _came(2)]) == Announcements()
    announcements = table.update({2: _sa(2, 2)}, [])
    assert _keys(announcements.interrupted) == [1]
    assert _keys(announcements.installed) == [2]
    assert not announcements.unconfirmed


def test_a_circuit_waits_for_the_listing_of_its_replacement() -> None:
    """Make-before-break reauthentication, while the bridge lists the old IKE_SA alone: nhrpd always has a circuit."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    first = table.update({}, [_came(2), _ended(1)], {1})
    assert first == Announcements(unconfirmed=True)
    second = table.update({2: _sa(2, 2)}, [])
    assert (_keys(second.interrupted), _keys(second.installed), _keys(second.destroyed)) == ([], [2], [1])


def test_a_child_sa_that_came_and_ended_between_two_listings_delays_no_other() -> None:
    """No listing will ever show it, so its events do not wait for one."""
    table = CircuitTable()
    assert table.update({}, [_came(1), _ended(1)]) == Announcements()
    assert table.announce_early((_sa(2, 2), ChildSa(2, "dmvpn", "INSTALLED")))


def test_another_charon_gives_known_unique_ids_to_other_peers() -> None:
    """The same unique id at other addresses is another charon's, unless the IKE_SA's SPIs are the same: it moved."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    assert table.is_of_another_charon([_sa(2, 1, remote="203.0.113.3")])
    assert not table.is_of_another_charon([_sa(1, 1, remote="203.0.113.3")])
    assert not table.is_of_another_charon([_sa(2, 1), _sa(3, 2)])
