"""What the bridge announces to nhrpd, whatever charon lists and whichever events it sends."""

from collections.abc import Iterable, Sequence, Set
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dmvpn_agent.bridge.circuit_table import Announcements, CircuitTable
from dmvpn_agent.charon.events import ChildChange
from dmvpn_agent.charon.sa import ChildSa, Circuit, IkeSa, Pair, addresses, circuits, same_circuit

STATES = st.sampled_from(["INSTALLED", "INSTALLED", "REKEYING", "REKEYED", "DELETING", "DELETED", "CREATED"])
CHILDREN = st.dictionaries(st.integers(1, 6), STATES, max_size=4)
IKE_IDS = st.sets(st.integers(1, 3))
HUB = ip_address("203.0.113.1")
PAIRS = st.sampled_from([(HUB, ip_address("203.0.113.2")), (HUB, ip_address("203.0.113.3")), None])
EVENTS = st.lists(st.builds(ChildChange, st.integers(1, 6), st.booleans(), PAIRS), max_size=6)
PairEvent = tuple[Pair | None, ChildChange]


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
        self.early_events: list[PairEvent] = []
        self.before_early: dict[Pair, Set[int]] = {}
        self.new: list[ChildChange] = []

    def note(self, events: Iterable[ChildChange]) -> None:
        self.new += events

    def announce_early(self, circuit: Circuit) -> bool:
        sa, child = circuit
        pairs = {addresses(other) for other, _ in self.announced.values()} | {pair for pair, _ in self.early_events}
        ending = {event.pair for event in self.new if not event.came}
        if addresses(sa) in pairs | ending or None in ending:
            return False
        if child.unique_id in self.announced or not child.installed:
            return False
        self.announced[child.unique_id] = circuit
        self.never_listed.add(child.unique_id)
        return True

    def update(self, listed: dict[int, IkeSa], of: Set[int], *, full: bool = False) -> Announcements:
        replaced = [sa for key, sa in self.sas.items() if key in of]
        self.sas = {key: sa for key, sa in self.sas.items() if key not in of} | listed
        in_any_state, current = _children(self.sas.values()), circuits(self.sas.values())
        other = self.never_listed - _children(replaced) - _children(listed.values())
        other = {key for key in other if self.announced[key][0].unique_id not in of}
        absent = self.announced.keys() - current.keys() - other
        new = [(self.pair_of(event, current), event) for event in self.new]
        earlier, early, gone, down = self.early_events, list[PairEvent](), set[int](), set[int]()
        before_early: dict[Pair, Set[int]] = {}
        for pair in {pair for pair, _ in (*earlier, *new) if pair} | {self.pair(key) for key in self.announced}:
            of_pair = {key for key in self.announced if self.pair(key) == pair}
            decided = [event for other_, event in (*earlier, *new) if other_ == pair]
            late = self.not_shown(decided, current.keys() | other)
            if full and not any(other_ == pair for other_, _ in new):
                late = []
            decided = decided[: len(decided) - len(late)]
            arrivals = {event.unique_id for event in late if event.came}
            arrivals -= self.announced.keys() | current.keys() | {one.unique_id for one in late if not one.came}
            proven = {event.unique_id for event in decided if not event.came}
            gone_of_pair = absent & of_pair & (proven if arrivals else proven | in_any_state | self.absent_before)
            came = {event.unique_id for event in (*decided, *late) if event.came}
            existed = self.existing((of_pair | self.before_early.get(pair, set())) - came, decided)
            down |= self.interrupted(of_pair, gone_of_pair, existed)
            early += [(pair, event) for event in late]
            before_early[pair] = existed[-1] - gone_of_pair if late else set()
            gone |= gone_of_pair
        changed = [
            circuit
            for key, circuit in (self.announced | current).items()
            if key in down - gone
            or (key in current and not (key in self.announced and same_circuit(self.announced[key], circuit)))
        ]
        former, unconfirmed = self.announced, absent - gone
        self.early_events, self.before_early, self.new = early, before_early, []
        self.announced = {key: former[key] for key in unconfirmed | other} | current
        self.never_listed, self.absent_before = other, unconfirmed
        return Announcements(_circuits(former, down), changed, _circuits(former, gone - down), bool(unconfirmed))

    def pair(self, key: int) -> Pair:
        return addresses(self.announced[key][0])

    def pair_of(self, event: ChildChange, current: dict[int, Circuit]) -> Pair | None:
        key = event.unique_id
        listed = addresses(current[key][0]) if key in current else None
        return self.pair(key) if key in self.announced else event.pair or listed

    @staticmethod
    def existing(before: Set[int], events: list[ChildChange]) -> list[Set[int]]:
        """Return the CHILD_SAs of a pair before the events, and after each of them."""
        states = [before]
        for count in range(1, len(events) + 1):
            last = {event.unique_id: event.came for event in events[:count]}
            states.append({key for key in before | last.keys() if last.get(key, key in before)})
        return states

    @staticmethod
    def interrupted(announced: Set[int], gone: Set[int], existed: list[Set[int]]) -> Set[int]:
        """Return a pair's circuits if nhrpd must lose all of them, to see a moment in which there was none."""
        down = set[int]()
        for count in range(1, len(existed)):
            if existed[count - 1] and not existed[count]:
                down = set().union(*existed[:count]) & gone
        return announced if down else set()

    @staticmethod
    def not_shown(events: list[ChildChange], up: Set[int]) -> list[ChildChange]:
        """Return the events from the first one on that the listing does not show."""
        count = len(events)
        for _ in events:
            ended = {event.unique_id for event in events[:count] if not event.came}
            shown = [event.unique_id in up | ended if event.came else event.unique_id not in up for event in events]
            count = [*shown[:count], False].index(False)
        return events[count:]


class CircuitTableMachine(RuleBasedStateMachine):
    """A table, its naive model, and an nhrpd that follows the announcements (CHILD_SA → pair of addresses)."""

    @initialize(handed_over=listings())
    def start(self, handed_over: dict[int, IkeSa]) -> None:
        circuits_ = circuits(handed_over.values()).values()
        self.table, self.naive = CircuitTable(circuits_), NaiveTable(circuits_)
        self.nhrpd = {child.unique_id: addresses(sa) for sa, child in circuits_}

    @rule(events=EVENTS)
    def raise_events(self, events: list[ChildChange]) -> None:
        self.table.note(events)
        self.naive.note(events)

    @rule(sas=listings(moving=True))
    def list_all(self, sas: dict[int, IkeSa]) -> None:
        former = frozenset(sa.unique_id for sa, _ in self.naive.announced.values())
        expected = self.naive.update(sas, former | self.naive.sas.keys() | sas.keys(), full=True)
        self.check(self.table.update(sas), expected)

    @rule(sas=listings(moving=True), of=IKE_IDS)
    def list_some(self, sas: dict[int, IkeSa], of: set[int]) -> None:
        listed = {key: sa for key, sa in sas.items() if key in of}
        self.check(self.table.update(listed, of), self.naive.update(listed, of))

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
            table.note([] if again else events)
            announcements = table.update(sas)
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
    table.update(before)
    gone = table.announced.keys() - circuits(after.values()).keys()
    table.note(ChildChange(key, False) for key in gone)
    announcements = table.update(after)
    assert {child.unique_id for _, child in (*announcements.interrupted, *announcements.destroyed)} == gone
    assert not announcements.unconfirmed


@given(listings())
def test_the_same_listing_again_changes_nothing(sas: dict[int, IkeSa]) -> None:
    """Neither for this table, nor for one that took over the announced circuits."""
    table = CircuitTable()
    table.update(sas)
    for again in (table, CircuitTable(table.announced.values())):
        assert again.update(sas) == Announcements()
        assert not again.is_of_another_charon(sas.values())


def _sa(number: int, *children: int, remote: str = "203.0.113.2") -> IkeSa:
    installed = tuple(ChildSa(key, "dmvpn", "INSTALLED") for key in children)
    return IkeSa(number, "dmvpn", "ESTABLISHED", ip_address("203.0.113.1"), ip_address(remote), 500, "CN=hub",
                 "CN=spoke", f"{number:x}", "0", installed)  # fmt: skip


def _came(key: int, remote: str = "203.0.113.2") -> ChildChange:
    return ChildChange(key, True, (HUB, ip_address(remote)))


def _ended(key: int) -> ChildChange:
    return ChildChange(key, False, (HUB, ip_address("203.0.113.2")))


def _update(
    table: CircuitTable, listed: dict[int, IkeSa], events: Sequence[ChildChange], of: Set[int] | None = None
) -> Announcements:
    table.note(events)
    return table.update(listed, of)


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
    table.update({1: _sa(1, 1)})
    announcements = _update(table, {2: _sa(2, 2)}, events)
    assert _keys(announcements.interrupted) == interrupted
    assert _keys(announcements.installed) == [2]
    assert not (interrupted and announcements.destroyed)


def test_an_interruption_of_several_circuits_leaves_nhrpd_none_of_them() -> None:
    """If two IKE_SAs with a peer ended before a third came, nhrpd has no circuit in between."""
    table = CircuitTable()
    table.update({1: _sa(1, 1), 2: _sa(2, 2)})
    announcements = _update(table, {3: _sa(3, 3)}, [_ended(1), _ended(2), _came(3)])
    assert _keys(announcements.interrupted) == [1, 2]
    assert _keys(announcements.installed) == [3]
    assert not announcements.destroyed


def test_an_event_before_its_listing_keeps_its_place() -> None:
    """An end that only the next listing shows comes before the circuit that followed it."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)})
    assert _update(table, {1: _sa(1, 1)}, [_ended(1), _came(2)]) == Announcements()
    announcements = table.update({2: _sa(2, 2)})
    assert _keys(announcements.interrupted) == [1]
    assert _keys(announcements.installed) == [2]
    assert not announcements.unconfirmed


def test_an_arrival_of_another_peer_hides_no_interruption() -> None:
    """Its IKE_SA was not asked for, so that its event waits for the next listing."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)})
    events = [_came(3, "203.0.113.3"), _ended(1), _came(2)]
    announcements = _update(table, {2: _sa(2, 2)}, events, {1, 2})
    assert _keys(announcements.interrupted) == [1]
    assert _keys(announcements.installed) == [2]
    assert not announcements.unconfirmed


def test_a_circuit_announced_before_the_interruption_was_seen_is_announced_again() -> None:
    """The listing met the old IKE_SA before its end, and the new one after it came."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)})
    first = _update(table, {1: _sa(1, 1), 2: _sa(2, 2)}, [_ended(1), _came(2)])
    assert (_keys(first.interrupted), _keys(first.installed)) == ([], [2])
    second = table.update({2: _sa(2, 2)})
    assert (_keys(second.interrupted), _keys(second.installed), second.destroyed) == ([1, 2], [2], [])


def test_a_child_sa_that_came_and_ended_between_two_listings_bridges_them() -> None:
    """Two rekeyings within one refresh: nhrpd has a circuit throughout."""
    table = CircuitTable()
    table.update({1: _sa(1, 105)})
    announcements = _update(table, {1: _sa(1, 109)}, [_came(106), _ended(105), _came(109), _ended(106)])
    assert (announcements.interrupted, _keys(announcements.destroyed)) == ([], [105])
    assert _keys(announcements.installed) == [109]


def test_a_circuit_waits_for_the_listing_of_its_replacement() -> None:
    """Make-before-break reauthentication, while the bridge lists the old IKE_SA alone: nhrpd always has a circuit."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)})
    first = _update(table, {}, [_came(2), _ended(1)], {1})
    assert first == Announcements(unconfirmed=True)
    second = table.update({2: _sa(2, 2)})
    assert (_keys(second.interrupted), _keys(second.installed), _keys(second.destroyed)) == ([], [2], [1])


def test_a_child_sa_that_came_and_ended_between_two_listings_delays_no_other() -> None:
    """No listing will ever show it, so its events do not wait for one."""
    table = CircuitTable()
    assert _update(table, {}, [_came(1), _ended(1)]) == Announcements()
    assert table.announce_early((_sa(2, 2), ChildSa(2, "dmvpn", "INSTALLED")))


def test_another_charon_gives_known_unique_ids_to_other_peers() -> None:
    """The same unique id at other addresses is another charon's, unless the IKE_SA's SPIs are the same: it moved."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)})
    assert table.is_of_another_charon([_sa(2, 1, remote="203.0.113.3")])
    assert not table.is_of_another_charon([_sa(1, 1, remote="203.0.113.3")])
    assert not table.is_of_another_charon([_sa(2, 1), _sa(3, 2)])
