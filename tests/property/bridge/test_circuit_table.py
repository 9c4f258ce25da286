"""What nhrpd is told, whatever charon shows."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge.circuit_table import CircuitTable, Difference
from dmvpn_agent.charon.sa import ChildSa, IkeSa, addresses, circuits, same_circuit
from dmvpn_agent.charon.sa_changes import ChildChange

STATES = st.sampled_from(["INSTALLED", "REKEYING", "REKEYED", "DELETING", "DELETED", "CREATED"])
CHILDREN = st.dictionaries(st.integers(1, 6), STATES, max_size=4)


@st.composite
def looks(draw: st.DrawFn) -> dict[int, IkeSa]:
    """What charon may show at one look; no CHILD_SA stands in two IKE_SAs."""
    found, used = {}, set[int]()
    for number in draw(st.sets(st.integers(1, 3))):
        children = {key: state for key, state in draw(CHILDREN).items() if key not in used}
        used |= children.keys()
        found[number] = IkeSa(
            number, "dmvpn", draw(st.sampled_from(["ESTABLISHED", "REKEYED", "DELETING"])), ip_address("203.0.113.1"),
            ip_address(f"203.0.113.{draw(st.integers(2, 3))}"), 500, "CN=hub", f"CN=spoke{number}",
            f"{draw(st.integers(1, 2)):x}", "0",
            tuple(ChildSa(key, "dmvpn", state) for key, state in children.items()),
        )  # fmt: skip
    return found


CHANGES = st.lists(st.builds(ChildChange, st.integers(1, 6), st.booleans()), max_size=6)


@given(st.lists(st.tuples(looks(), CHANGES)))
def test_nhrpd_is_in_step_after_a_second_look_at_the_latest(
    history: list[tuple[dict[int, IkeSa], list[ChildChange]]],
) -> None:
    """Told in order, it believes what charon shows, and what is in doubt; looked at again, just what charon shows."""
    table = CircuitTable()
    believed: set[int] = set()
    for sas, changes in history:
        for again in (False, True):
            difference = table.update(sas, [] if again else changes)
            lost = {child.unique_id for _, child in difference.lost}
            installed = {child.unique_id for _, child in difference.installed}
            destroying = {child.unique_id for _, child in difference.destroying}
            assert lost | destroying <= believed
            assert not (lost | installed) & destroying
            believed = ((believed - lost) | installed) - destroying
            assert believed == table.announced.keys()
            assert believed >= circuits(sas.values()).keys()
            assert difference.doubtful == (believed != circuits(sas.values()).keys())
        assert not difference.doubtful


@given(st.lists(st.tuples(st.sets(st.integers(1, 3)), looks(), CHANGES)))
def test_a_look_at_some_is_one_at_all_of_which_the_others_are_as_they_were(
    history: list[tuple[set[int], dict[int, IkeSa], list[ChildChange]]],
) -> None:
    """Whatever moves between them, nhrpd is told the same."""
    some, every = CircuitTable(), CircuitTable()
    for numbers, sas, changes in history:
        part = {key: sa for key, sa in sas.items() if key in numbers}
        others = {key: sa for key, sa in every.sas.items() if key not in numbers}
        told = _numbers(some.update(part, changes, numbers))
        assert told == _numbers(every.update({**others, **part}, changes))
        assert (some.announced, some.sas) == (every.announced, every.sas)
        for table in (some, every):
            pairs = {addresses(sa) for sa, _ in table.announced.values()}
            assert {pair: {child.unique_id for _, child in table.between(*pair)} for pair in pairs} == {
                pair: {key for key, (sa, _) in table.announced.items() if addresses(sa) == pair} for pair in pairs
            }


def _numbers(difference: Difference) -> tuple[object, ...]:
    parts = (difference.lost, difference.installed, difference.destroying)
    return (*({child.unique_id for _, child in part} for part in parts), difference.doubtful)


@given(looks(), looks())
def test_who_came_is_believed_before_a_look_shows_it(before: dict[int, IkeSa], after: dict[int, IkeSa]) -> None:
    """Only where nhrpd believes in nothing between these addresses; what two looks do not show goes."""
    table = CircuitTable()
    table.update(before, [])
    for key, circuit in circuits(after.values()).items():
        new = key not in table.announced and not tuple(table.between(*addresses(circuit[0])))
        assert table.announce_early(circuit) == new
    for again in (False, True):
        told = dict(table.announced)
        difference = table.update({} if again else after, [])
        assert not any(same_circuit(circuit, told.get(circuit[1].unique_id, circuit)) and
                       circuit[1].unique_id in told for circuit in difference.installed)  # fmt: skip
    table.update({}, [])
    assert not table.announced


@given(looks(), looks())
def test_what_charon_says_or_shows_is_believed_at_once(before: dict[int, IkeSa], after: dict[int, IkeSa]) -> None:
    """A CHILD_SA that it said is gone, or lists without traffic, waits for no second look."""
    table = CircuitTable()
    table.update(before, [])
    gone = table.announced.keys() - circuits(after.values()).keys()
    difference = table.update(after, [ChildChange(key, False) for key in gone])
    assert {child.unique_id for _, child in (*difference.lost, *difference.destroying)} == gone
    assert not difference.doubtful


@given(looks())
def test_the_same_look_again_says_nothing(sas: dict[int, IkeSa]) -> None:
    """Also to a program that took over what was told."""
    table = CircuitTable()
    table.update(sas, [])
    for again in (table, CircuitTable(table.announced.values())):
        assert again.update(sas, []) == Difference()
        assert not again.is_of_another_charon(sas.values())


def _sa(number: int, *children: int) -> IkeSa:
    installed = tuple(ChildSa(key, "dmvpn", "INSTALLED") for key in children)
    return IkeSa(number, "dmvpn", "ESTABLISHED", ip_address("203.0.113.1"), ip_address("203.0.113.2"), 500, "CN=hub",
                 "CN=spoke", f"{number:x}", "0", installed)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ([ChildChange(1, False), ChildChange(2, True)], [1]),
        ([ChildChange(2, True), ChildChange(1, False)], []),
        ([ChildChange(1, False)], [1]),
        ([], []),
        ([ChildChange(3, True), ChildChange(1, False), ChildChange(3, False), ChildChange(2, True)], [1]),
    ],
    ids=["ended, then came", "came, then ended", "ended, and is there again", "nothing", "one between that is gone"],
)
def test_nhrpd_is_told_in_the_order_that_charon_told(said: list[ChildChange], lost: list[int]) -> None:
    """However late the bridge looks: a tunnel that was down is told to have been down, one that was not is not."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    difference = table.update({2: _sa(2, 2)}, said)
    assert [child.unique_id for _, child in difference.lost] == lost
    assert [child.unique_id for _, child in difference.installed] == [2]
    assert not (lost and difference.destroying)


def test_what_charon_said_ahead_of_what_it_showed_is_kept() -> None:
    """An end that is shown by the next look only is one that charon told of, in its place."""
    table = CircuitTable()
    table.update({1: _sa(1, 1)}, [])
    assert table.update({1: _sa(1, 1)}, [ChildChange(1, False), ChildChange(2, True)]) == Difference()
    difference = table.update({2: _sa(2, 2)}, [])
    assert [child.unique_id for _, child in difference.lost] == [1]
    assert [child.unique_id for _, child in difference.installed] == [2]
    assert not difference.doubtful
