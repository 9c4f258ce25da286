"""Plans on a model of bgpd: from any state to the desired one, safe to interrupt anywhere."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.drift import expected_state, find_drift
from dmvpn_agent.bgp.neighbors import DENY_ANY, Observed, owns_list, owns_neighbor
from dmvpn_agent.bgp.plan import RefreshInbound, plan, subject
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.settings import BgpSettings, Instance
from dmvpn_agent.bgp.vtysh_lines import annotate, render
from dmvpn_agent.policy.peer import Peer
from fakes.bgpd_model import BgpdModel
from fakes.frr_states import UNIVERSE, Edit, choices, edits, lines_for, populations, wanted

Announcements = dict[str, frozenset[Network]]
STATES = st.tuples(populations, st.lists(edits, max_size=6), st.booleans())


def _model(state: tuple[list[Peer], list[Edit], bool]) -> BgpdModel:
    before, hand_made, requires_policy = state
    model = BgpdModel(UNIVERSE, requires_policy=requires_policy)
    model.run(lines_for(before))
    for edit in hand_made:
        model.run(edit.typed())
    return model


def _observe(model: BgpdModel) -> Observed:
    return parse_running_config(model.running_config())


def _announcements(model: BgpdModel) -> Announcements:
    return {address: model.permitted(address) | model.neighbors[address].accepted for address in model.neighbors}


def _without_seq(observed: Observed) -> tuple[object, ...]:
    return observed.neighbors, {name: frozenset(entries.values()) for name, entries in observed.prefix_lists.items()}


def _operators_part(model: BgpdModel) -> tuple[object, ...]:
    observed = _observe(model)
    neighbors = {
        address: neighbor
        for address, neighbor in observed.neighbors.items()
        if neighbor.description is not None and not owns_neighbor(neighbor)
    }
    lists = {name: entries for name, entries in observed.prefix_lists.items() if not owns_list(name)}
    return neighbors, lists, observed.peer_groups, observed.as_number


@given(STATES, populations, choices)
def test_a_complete_plan_reaches_the_desired_state(
    state: tuple[list[Peer], list[Edit], bool], population: list[Peer], by: BgpSettings
) -> None:
    """All neighbors and lists are as desired, the agent's other ones are gone, and the next plan is empty."""
    model, goal = _model(state), wanted(population, by)
    operators_part = _operators_part(model)
    todo = plan(goal, _observe(model))
    model.run(render(todo.changes, Instance(65000)))

    observed = _observe(model)
    assert plan(goal, observed).changes == ()
    mine = {address: found for address, found in observed.neighbors.items() if owns_neighbor(found)}
    assert mine == {
        address: item for address, item in goal.neighbors.items() if address not in todo.operator_neighbors
    }
    for address, neighbor in mine.items():
        entries = observed.prefix_lists[neighbor.prefix_list or ""]
        *others, last = (entry for _, entry in sorted(entries.items()))
        assert frozenset(others) == goal.prefix_lists[neighbor.prefix_list or ""]
        assert last == DENY_ANY
        assert [entry.permit for entry in others] == sorted(entry.permit for entry in others)
        assert model.neighbors[str(address)].accepted == model.permitted(str(address))
    assert _operators_part(model) == operators_part


@given(STATES, populations, choices)
def test_after_any_change_no_neighbor_can_announce_more(
    state: tuple[list[Peer], list[Edit], bool], population: list[Peer], by: BgpSettings
) -> None:
    """At any moment a neighbor may announce at most what it could before or can at the end."""
    final = _model(state)
    changes = plan(wanted(population, by), _observe(final)).changes
    before = _announcements(final)
    for change in changes:
        final.run(render([change], Instance(65000)))
    after = {address: final.permitted(address) for address in final.neighbors}

    model = _model(state)
    already_empty = model.empty_lists_in_use()
    for change in changes:
        model.run(render([change], Instance(65000)))
        assert model.empty_lists_in_use() <= already_empty
        for address in model.neighbors:
            allowed = before.get(address, frozenset()) | after.get(address, frozenset())
            assert model.permitted(address) <= allowed, (change, address)


@given(STATES.map(lambda state: (*state[:2], True)), populations, choices, st.integers(0, 60))
def test_after_any_line_no_neighbor_can_announce_more_and_the_next_plan_completes_it(
    state: tuple[list[Peer], list[Edit], bool], population: list[Peer], by: BgpSettings, lines: int
) -> None:
    """Also if it is cut off within a change, as long as bgpd requires a policy."""
    goal = wanted(population, by)
    final = _model(state)
    before = _announcements(final)
    whole = render(plan(goal, _observe(final)).changes, Instance(65000))
    final.run(whole)
    after = {address: final.permitted(address) for address in final.neighbors}

    model = _model(state)
    model.run(whole[:lines])
    for address in model.neighbors:
        allowed = before.get(address, frozenset()) | after.get(address, frozenset())
        assert model.permitted(address) <= allowed, address
    model.run(render(plan(goal, _observe(model)).changes, Instance(65000)))
    assert _without_seq(_observe(model)) == _without_seq(_observe(final))


@given(STATES, populations, choices, choices, st.integers(0, 80))
def test_at_any_line_a_neighbor_that_may_have_a_session_has_its_limit(
    state: tuple[list[Peer], list[Edit], bool], population: list[Peer], by: BgpSettings, then: BgpSettings, cut: int
) -> None:
    """From the line that puts it into its peer-group on, and while the limit changes or the neighbor is recreated."""
    model = _model(state)
    model.run(render(plan(wanted(population, by), _observe(model)).changes, Instance(65000)))
    before = dict(_observe(model).neighbors)
    goal = wanted(population, then)
    todo = plan(goal, _observe(model))
    model.run(render(todo.changes, Instance(65000))[:cut])
    for address, found in _observe(model).neighbors.items():
        asked = goal.neighbors.get(address)
        if (
            asked is None
            or address in todo.operator_neighbors
            or not owns_neighbor(found)
            or found.peer_group is None
        ):
            continue
        earlier = before[address]
        assert found.maximum_prefix in {asked.maximum_prefix, earlier.maximum_prefix}
        if found.activates_ipv6:
            assert found.maximum_prefix_ipv6 in {asked.maximum_prefix_ipv6, earlier.maximum_prefix_ipv6}
        assert found.weight in {asked.weight, earlier.weight}


@given(STATES, populations, choices)
def test_rendered_lines_contain_only_parsed_values(
    state: tuple[list[Peer], list[Edit], bool], population: list[Peer], by: BgpSettings
) -> None:
    """No line has a second one in it, and each but the navigation names a list, a neighbor or a network.

    ``annotate`` gives the same lines, with one comment for each change.
    """
    changes = plan(wanted(population, by), _observe(_model(state))).changes
    lines = render(changes, Instance(65000))
    annotated = annotate(changes, Instance(65000))
    assert [line for line in annotated if not line.startswith("! ")] == lines
    assert [line[2:] for line in annotated if line.startswith("! ")] == [describe(change) for change in changes]
    assert all(subject(change) in describe(change) and describe(change).isprintable() for change in changes)
    assert all(line.isascii() and line.isprintable() for line in lines)
    for line in lines:
        words = line.split()
        if "neighbor" in words:
            assert ip_address(words[words.index("neighbor") + 1])


@given(STATES)
def test_reading_the_running_configuration_loses_nothing(state: tuple[list[Peer], list[Edit], bool]) -> None:
    """As far as the agent reads it."""
    model = _model(state)
    observed = _observe(model)
    assert {str(address) for address in observed.neighbors} == set(model.neighbors)
    for address, found in observed.neighbors.items():
        there = model.neighbors[str(address)]
        assert (found.description, found.peer_group, found.prefix_list) == (
            there.description,
            there.peer_group,
            there.prefix_list,
        )
        assert str(found.as_number) == there.remote_as
    assert {name: set(entries) for name, entries in observed.prefix_lists.items()} == {
        name: set(defined.entries) for name, defined in model.lists.items()
    }
    assert observed.requires_policy == model.requires_policy


@given(STATES, populations, populations, choices, st.lists(edits, max_size=3))
def test_edits_since_the_last_sync_are_drift_and_new_peers_are_not(
    state: tuple[list[Peer], list[Edit], bool],
    population: list[Peer],
    later: list[Peer],
    by: BgpSettings,
    afterwards: list[Edit],
) -> None:
    """Every edit that the plan reverts is reported; without edits nothing is, whichever peers come or leave."""
    model, goal = _model(state), wanted(population, by)
    todo = plan(goal, _observe(model))
    model.run(render(todo.changes, Instance(65000)))
    expected = expected_state(goal, todo.operator_neighbors)
    assert find_drift(expected, _observe(model), plan(wanted(later, by), _observe(model))) == {}

    for edit in afterwards:
        model.run(edit.typed())
    undone = plan(goal, _observe(model))
    named = find_drift(expected, _observe(model), undone)
    theirs = {
        name
        for address in undone.operator_neighbors
        for name in (str(address), *goal.neighbors[address].prefix_lists)
    }
    theirs |= {
        name for address in todo.operator_neighbors for name in (str(address), *goal.neighbors[address].prefix_lists)
    }
    assert (
        named.keys() - theirs
        == {subject(change) for change in undone.changes if not isinstance(change, RefreshInbound)} - theirs
    )
