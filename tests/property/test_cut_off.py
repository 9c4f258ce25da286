"""What real programs printed, cut off anywhere: refused as the reader documents it, and never taken for the whole."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bgp.running_config import parse_running_config, require_complete
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.charon.events import ALERT_EVENT, SA_EVENTS, decode_event
from dmvpn_agent.charon.sa_reader import parse_connections, parse_ike_sas, parse_load
from dmvpn_agent.charon.vici import Section, ViciError, decode, encode
from dmvpn_agent.frr.nhrp_cache import parse_nhrp_cache
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.kernel.nftables.shown_table import NftFormatError, parse_table
from factories import NOW
from fakes.transcript import load

DATA = Path(__file__).parents[1] / "data"
CONFIGURATIONS = sorted(DATA.glob("frr-*/*config.txt"))
Reader = Callable[[str], object]


def _json_answers() -> Iterator[tuple[Path, Reader, type[Exception]]]:
    for pattern, reader, error in (
        ("frr-*/*summary*.json", parse_bgp_summary, FrrFormatError),
        ("frr-*/nhrp-cache*.json", parse_nhrp_cache, FrrFormatError),
        ("nft-*/table.json", parse_table, NftFormatError),
    ):
        yield from ((file, reader, error) for file in sorted(DATA.glob(pattern)))


JSON = tuple(_json_answers())
NAMES = [f"{file.parent.name} {file.stem}" for file, _, _ in JSON]


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_a_configuration_that_was_cut_off_is_never_whole(file: Path) -> None:
    """At every byte: neighbors that are missing at its end are not gone."""
    text = file.read_text()
    require_complete(text, framed=False)
    for end in range(len(text.rstrip())):
        with pytest.raises(FrrFormatError):
            require_complete(text[:end], framed=False)


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_a_configuration_cut_off_anywhere_raises_nothing_else(file: Path) -> None:
    """From either end, and with a line missing."""
    text = file.read_text()
    for at in range(len(text)):
        for part in (text[:at], text[at:]):
            with suppress(FrrFormatError):
                parse_running_config(part)
    lines = text.split("\n")
    for number in range(len(lines)):
        with suppress(FrrFormatError):
            parse_running_config("\n".join(lines[:number] + lines[number + 1 :]))


@given(st.data())
def test_a_configuration_with_lines_changed_raises_nothing_else(data: st.DataObject) -> None:
    """A word of a line left out, doubled, or another: another version of FRR, or an operator's word."""
    lines = data.draw(st.sampled_from(CONFIGURATIONS)).read_text().split("\n")
    odd = st.one_of(
        st.sampled_from(["-1", "0", "4294967296", "9" * 5000, "any", "x", "１", "1.2.3", "::/129"]), st.text()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(lines) - 1))
        words = lines[number].split(" ")
        place = data.draw(st.integers(0, len(words) - 1))
        words[place : place + 1] = data.draw(st.lists(odd, max_size=2))
        lines[number] = " ".join(words)
    with suppress(FrrFormatError):
        parse_running_config("\n".join(lines))


@pytest.mark.parametrize(("file", "reader", "error"), JSON, ids=NAMES)
def test_json_that_was_cut_off_is_refused(file: Path, reader: Reader, error: type[Exception]) -> None:
    """At every byte."""
    text = file.read_text()
    reader(text)
    for end in range(len(text.rstrip())):
        with pytest.raises(error):
            reader(text[:end])


@pytest.mark.parametrize(("file", "reader", "error"), JSON, ids=NAMES)
@given(data=st.data())
def test_json_with_values_changed_raises_nothing_else(
    file: Path, reader: Reader, error: type[Exception], data: st.DataObject
) -> None:
    """Any value of it another, or of another type; also what Python alone takes for JSON."""
    text = file.read_text()
    values = st.sampled_from(
        ["null", "[]", "{}", "-1", "1e999", "NaN", "Infinity", "true", '"x"', "9" * 5000, "[" * 2000]
    )
    for _ in range(data.draw(st.integers(1, 3))):
        colons = [place for place, char in enumerate(text) if char == ":"]
        start = data.draw(st.sampled_from(colons)) + 1
        stop = min(text.find(sign, start) % (len(text) + 1) for sign in ",}\n]")
        text = text[:start] + data.draw(values) + text[max(stop, start) :]
    with suppress(error):
        reader(text)


@lru_cache
def _bodies() -> tuple[bytes, ...]:
    """The packets that a real charon sent, each once."""
    files = sorted(DATA.glob("strongswan-*/*.jsonl"))
    return tuple({encode(line.packet)[4:]: None for file in files for line in load(file)})


def _read_everything(message: Section) -> None:
    """Read a message by whatever reads some message."""
    readers: tuple[Callable[[], Any], ...] = (
        lambda: tuple(parse_ike_sas(message, NOW)),
        lambda: tuple(parse_connections(message)),
        lambda: parse_load(message),
    )
    for reader in readers:
        with suppress(ViciError):
            reader()
    for event in (*SA_EVENTS, ALERT_EVENT):
        decode_event(event, message, message.keys(), NOW)


def test_a_packet_of_charon_that_was_cut_off_is_refused() -> None:
    """At every byte, but between two elements of its message: there its length alone tells."""
    for body in _bodies():
        for end in range(len(body)):
            with suppress(ViciError):
                _read_everything(decode(body[:end]).message)


@given(st.data())
def test_a_message_of_charon_with_values_changed_raises_nothing_else(data: st.DataObject) -> None:
    """A section where a value is expected, a list, bytes that are no number and no text."""
    message = data.draw(st.sampled_from([decode(body).message for body in _bodies() if decode(body).message]))

    def changed(section: Section) -> dict[str, Any]:
        result: dict[str, Any] = {
            key: changed(value) if isinstance(value, dict) else value for key, value in section.items()
        }
        if result and data.draw(st.integers(0, 2)) == 0:
            key = data.draw(st.sampled_from(sorted(result)))
            odd: list[Any] = [
                b"",
                b"-1",
                b"9" * 30,
                b"\xff",
                b"\xd9\xa3",
                b"yes",
                {},
                {"old": {}},
                [b"x"],
                b"fe80::1%\x1b",
            ]
            result[key] = data.draw(st.sampled_from(odd))
        return result

    _read_everything(changed(message))
