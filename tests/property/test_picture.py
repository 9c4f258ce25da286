"""What nhrpd is told, whatever charon shows."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.core.picture import Picture
from dmvpn_agent.core.sa import ChildSa, IkeSa, circuits

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


@given(st.lists(st.tuples(looks(), st.sets(st.integers(1, 6)))))
def test_nhrpd_is_in_step_after_a_second_look_at_the_latest(history: list[tuple[dict[int, IkeSa], set[int]]]) -> None:
    """Told in order, it believes what charon shows, and what is in doubt; looked at again, just what charon shows."""
    picture = Picture()
    believed: set[int] = set()
    for sas, ended in history:
        for again in (False, True):
            difference = picture.look(sas, set() if again else ended)
            installed = {child.unique_id for _, child in difference.installed}
            destroying = {child.unique_id for _, child in difference.destroying}
            assert destroying <= believed
            assert not installed & destroying
            believed = (believed | installed) - destroying
            assert believed == picture.told.keys()
            assert believed >= circuits(sas.values()).keys()
            assert difference.doubtful == (believed != circuits(sas.values()).keys())
        assert not difference.doubtful


@given(looks(), looks())
def test_what_charon_says_or_shows_is_believed_at_once(before: dict[int, IkeSa], after: dict[int, IkeSa]) -> None:
    """A CHILD_SA that it said is gone, or lists without traffic, waits for no second look."""
    picture = Picture()
    picture.look(before, set())
    gone = picture.told.keys() - circuits(after.values()).keys()
    difference = picture.look(after, gone)
    assert {child.unique_id for _, child in difference.destroying} == gone
    assert not difference.doubtful


@given(looks())
def test_the_same_look_again_says_nothing(sas: dict[int, IkeSa]) -> None:
    """Also to a program that took over what was told."""
    picture = Picture()
    picture.look(sas, set())
    for again in (picture, Picture(picture.told.values())):
        difference = again.look(sas, set())
        assert (difference.installed, difference.destroying, difference.doubtful) == ([], [], False)
        assert not again.is_of_another_charon(sas.values())
