"""Lines that do not change stay, and those that do have the values that were wanted, or the file is refused."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.setup.toml_edit import edited, leaves, statements, value_text

NAMES = st.sampled_from(["a", "b-c", "d e", 'q"', "ä", "#"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text("ab#\"'\\\n\x7f=[]{}ä", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
TABLES = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3)


def _text(root: dict[str, Any], tables: dict[str, dict[str, Any]]) -> str:
    def lines(values: dict[str, Any]) -> list[str]:
        return [f"{value_text({key: one})[2:-2]}  # {key} is = 'this'" for key, one in values.items()]

    parts = [*lines(root)]
    for name, values in tables.items():
        parts += ["", f"# about {name}", f"[top.{value_text({name: 0})[2:-6]}] # ]", *lines(values)]
    return "\n".join([*parts, "[[list]]", "b = 1", "[list.a]", "a = [\n1, # ]\n]", ""])


@given(st.dictionaries(NAMES, VALUES, max_size=3), TABLES)
def test_the_statements_are_the_file(root: dict[str, Any], tables: dict[str, dict[str, Any]]) -> None:
    """And nothing of it is changed by an edit without changes."""
    text = _text(root, tables)
    assert "".join(one.text for one in statements(text)) == text
    assert edited(text, [], {}, {}) == text


@given(st.dictionaries(NAMES, VALUES, max_size=3), TABLES, NAMES, NAMES, VALUES, st.data())
def test_a_value_is_set_and_the_others_stay(
    root: dict[str, Any], tables: dict[str, dict[str, Any]], table: str, key: str, value: Any, data: st.DataObject
) -> None:
    """In a section that is there or not."""
    path = data.draw(st.sampled_from([(key,), ("top", table, key)]))
    text = _text(root, tables)
    found = edited(text, [], {path: value}, {path: "# new"})
    expected = tomllib.loads(text)
    inside = expected
    for name in path[:-1]:
        inside = inside.setdefault(name, {})
    inside[path[-1]] = value
    assert tomllib.loads(found) == expected
    assert edited(found, [], {path: value}, {}) == found


@given(st.dictionaries(NAMES, VALUES, max_size=3), TABLES, st.data())
def test_a_value_is_removed_and_the_others_stay(
    root: dict[str, Any], tables: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    """Wherever it stands."""
    text = _text(root, tables)
    before = dict(leaves(tomllib.loads(text)))
    path = data.draw(st.sampled_from([one for one in before if one != ("list",)] or [("none",)]))
    found = dict(leaves(tomllib.loads(edited(text, [path], {}, {}))))
    assert found == {one: value for one, value in before.items() if one != path}


ENTRIES = st.lists(st.sampled_from(["a", "b]", "#c", "d,", 'e"', "\n"]), max_size=5)


@given(ENTRIES, ENTRIES, st.data())
def test_an_array_gets_other_entries_and_all_comments_stay(
    old: list[str], new: list[str], data: st.DataObject
) -> None:
    """However it is laid out; lines of entries that stay are the same but for a comma."""
    space = st.sampled_from(["", " ", "\n", "\n\t", " # one ]\n  ", "\n# two, [\n"])
    parts = ["[", data.draw(space)]
    for number, entry in enumerate(old):
        last = number == len(old) - 1 and data.draw(st.booleans())
        spelled = data.draw(st.sampled_from([value_text(entry), f"""\"\"\"{value_text(entry)[1:-1]}\"\"\""""]))
        parts += [spelled, data.draw(space), "" if last else ",", data.draw(space)]
    text = f"before = 1\na = {''.join(parts)}] # three\nafter = 2 # four\n"
    assert tomllib.loads(text)["a"] == old
    found = edited(text, [], {("a",): new}, {})
    assert tomllib.loads(found) == {"before": 1, "a": new, "after": 2}
    assert found.startswith("before = 1\n")
    assert found.endswith("# three\nafter = 2 # four\n")
    for comment in ("# one ]", "# two, ["):
        assert found.count(comment) == text.count(comment)
