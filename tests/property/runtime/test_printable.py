"""Printable text is safe for a terminal, whatever it was before."""

import ast
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.runtime.printable import printable, printable_lines

ANY = st.text(st.characters(exclude_categories=()), max_size=50)
HOSTILE = st.lists(
    st.one_of(
        ANY,
        st.sampled_from(["\x1b[2J", "\x9b31m", "\u202e", "\u200b", "\ufeff", "\n", "\r", "\0", "\ud800", "\u3164"]),
    )
).map("".join)
SEEN = {"L", "M", "N", "P", "S"}


@given(HOSTILE)
def test_every_character_is_visible(text: str) -> None:
    """Letters, marks, digits, signs, and the space: nothing that acts, hides, or breaks the line."""
    shown = printable(text)
    assert all(char == " " or unicodedata.category(char)[0] in SEEN for char in shown)
    shown.encode()


@given(HOSTILE)
def test_it_is_idempotent(text: str) -> None:
    """Making it printable twice does no harm."""
    assert printable(printable(text)) == printable(text)


@given(st.text(st.characters(categories=["L", "N", "P"], exclude_characters="\u3164\u115f\u1160\uffa0\u17b4\u17b5")))
def test_names_of_people_stay_as_they_are(text: str) -> None:
    """In any script."""
    assert printable(text) == text


@given(HOSTILE, st.integers(1, 100))
def test_a_text_is_cut_before_it_is_escaped(text: str, longest: int) -> None:
    """A cut text ends with an ellipsis."""
    cut = printable(text, longest)
    assert cut == printable(text) or cut.endswith("…")
    assert len(cut) <= 10 * longest


@given(HOSTILE)
def test_an_escape_identifies_its_character(text: str) -> None:
    """As in a Python literal."""
    escaped = printable(text.replace("\\", "")).replace("'", "\\'")
    assert ast.literal_eval(f"'{escaped}'") == text.replace("\\", "")


@given(HOSTILE)
def test_lines_stay_lines(text: str) -> None:
    """Only line feeds separate them."""
    assert printable_lines(text).count("\n") == text.count("\n")
    assert printable_lines(text).replace("\n", "").isprintable()
