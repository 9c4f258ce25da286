"""Whatever probes and links do, the choice of the uplink keeps its invariants."""

from ipaddress import IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.uplink.selection import Condition, Selection

NAMES = ("a", "b", "c")
PRESENT = Condition(IPv4Interface("192.0.2.1/24"), running=True)

#: Of each uplink: whether it is there, and whether its round of probes is answered (``None``: no round).
rounds = st.lists(
    st.fixed_dictionaries({name: st.tuples(st.booleans(), st.sampled_from([True, False, None])) for name in NAMES}),
    max_size=60,
)


@given(rounds, st.integers(1, 4), st.integers(1, 4), st.sampled_from([None, *NAMES]))
def test_invariants(
    history: list[dict[str, tuple[bool, bool | None]]], fall: int, rise: int, adopted: str | None
) -> None:
    """A usable one is chosen if there is any; it is left only for a preferred one, or if it is not usable."""
    selection = Selection(NAMES, {"a", "b"}, fall, rise)
    if adopted:
        selection.adopt(adopted)
    unanswered = dict.fromkeys(NAMES, 0)
    for now in history:
        conditions = {name: PRESENT if there else Condition() for name, (there, _) in now.items()}
        for name, (_, answered) in now.items():
            if answered is not None and name != "c":
                was_working = selection.health[name].working
                selection.health[name].note(answered=answered)
                unanswered[name] = 0 if answered else unanswered[name] + 1
                if was_working and not selection.health[name].working:
                    assert unanswered[name] >= fall
        before = selection.chosen
        usable = [name for name in NAMES if selection.usable(name, conditions)]
        chosen = selection.step(conditions)
        if usable:
            assert chosen in usable
        else:
            assert chosen == before
        if before in usable and chosen != before:
            assert chosen is not None
            assert NAMES.index(chosen) < NAMES.index(before)
