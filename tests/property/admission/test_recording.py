"""Recordings: what is written is read, and nothing else."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission.nhrp_event import MAX_MESSAGE_BYTES
from dmvpn_agent.admission.recording import MAX_LINE_BYTES, Entitled, Outcome, Recorded, RecordingError, read, write
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import Reason

TEXT = st.text(max_size=40)
PREFIXES = st.sampled_from([ip_network("192.168.2.0/24"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/48")])
ENTITLED = st.builds(
    Entitled,
    kind=st.sampled_from(PeerKind),
    as_number=st.none() | st.integers(1, 2**32 - 1),
    prefixes=st.lists(PREFIXES, max_size=3).map(tuple),
    max_prefix_length=st.tuples(st.integers(0, 32), st.integers(0, 128)),
    quarantined=st.booleans(),
)
OUTCOMES = (
    st.builds(Outcome, st.sampled_from(Reason), st.tuples(TEXT, TEXT, TEXT))
    | st.builds(Outcome, st.none(), entitled=ENTITLED)
    | st.just(Outcome(None))
)
RECORDED = st.builds(
    Recorded,
    time=st.datetimes(timezones=st.just(UTC)),
    message=st.binary(max_size=300),
    ike_peers=st.frozensets(
        st.builds(IkePeer, TEXT, st.booleans(), unproven=st.booleans())
        | st.builds(IkePeer, TEXT, st.just(True), certificate=TEXT)
        | st.builds(IkePeer, TEXT, st.just(True), awaited=st.booleans()),
        max_size=3,
    ),
    outcome=OUTCOMES,
)
PLAIN = Recorded(datetime(2026, 3, 1, tzinfo=UTC), b"eventid=1", frozenset(), Outcome(None))


@given(RECORDED)
def test_what_is_written_is_read(recorded: Recorded) -> None:
    """Every value survives, bytes that are no text among them; an event is one line."""
    line = write(recorded)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read(line) == recorded


@given(RECORDED, st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_line_is_an_event_or_a_recording_error(recorded: Recorded, place: int, value: int) -> None:
    """One wrong byte anywhere: nothing else is raised."""
    line = bytearray(write(recorded))
    line[place % len(line)] = value
    with suppress(RecordingError):
        read(bytes(line))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["v", "time", "message", "ike_peers", "outcome"]), JSON)
def test_any_value_in_place_of_another_is_an_event_or_a_recording_error(key: str, value: Any) -> None:
    """JSON of another form."""
    raw = json.loads(write(PLAIN)) | {key: value}
    with suppress(RecordingError):
        read(json.dumps(raw).encode())


def test_the_largest_event_has_a_line_that_is_read() -> None:
    """Even where every byte of it takes six characters."""
    recorded = Recorded(PLAIN.time, b"\x01" * MAX_MESSAGE_BYTES, frozenset(), Outcome(None))
    line = write(recorded)
    assert len(line) < MAX_LINE_BYTES
    assert read(line) == recorded


def test_a_time_is_read_as_utc() -> None:
    """Whatever its offset was."""
    moved = Recorded(
        PLAIN.time.astimezone(timezone(timedelta(hours=5))), PLAIN.message, PLAIN.ike_peers, PLAIN.outcome
    )
    assert read(write(moved)).time.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON"),
        (write(PLAIN)[:-20], "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a recorded event"),
        (b"{}", "not a recorded event"),
        (b'{"v": 2}', "version 2; this program reads version 1"),
        (b'{"v": 1}', "time is missing"),
        (b'{"v":1,"time":"2026-03-01T12:00:00"}', "time has no offset"),
        (b" " * (MAX_LINE_BYTES + 1), "longer than"),
    ],
)
def test_what_is_wrong_is_said(line: bytes, why: str) -> None:
    """In a few words, for the line's number to be put before them."""
    with pytest.raises(RecordingError, match=why):
        read(line)
