"""The event stream, whatever is sent and however it is cut."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from dmvpn_agent.admission.nhrp_event import MAX_MESSAGE_BYTES, AuthorizeBinding, BadEvent, EventError, EventReader
from factories import der, event

GOOD = event()
FRAGMENTS = st.sampled_from(
    [b"\n", b"\n\n", b"=", b"eventid=1\n", b"event=authorize-binding\n", b"type=dynamic\n", b"interface=gre1\n",
     b"remote_addr=10.255.0.2\n", b"remote_nbma=203.0.113.2\n", b"remote_cert=\n", b"remote_cert=30zz\n",
     b"remote_cert=" + der().hex().encode() + b"\n", GOOD, b"x" * MAX_MESSAGE_BYTES, b"x" * 40000]
)  # fmt: skip
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=40), max_size=12).map(b"".join)


def _read(chunks: Sequence[bytes]) -> tuple[list[AuthorizeBinding | BadEvent], bool]:
    reader, events = EventReader(), []
    try:
        for chunk in chunks:
            for item in reader.feed(chunk):
                events.append(item)
    except EventError:
        return events, True
    return events, False


@given(STREAMS, st.lists(st.integers(0, 60000), max_size=8))
@example(b"x" * MAX_MESSAGE_BYTES + b"\n\n", [MAX_MESSAGE_BYTES + 1])
@example(b"x" * (MAX_MESSAGE_BYTES + 1) + b"\n\n", [MAX_MESSAGE_BYTES + 1])
def test_however_a_stream_is_cut_it_reads_the_same(stream: bytes, cuts: list[int]) -> None:
    """Events and error depend on the bytes, not on how the kernel hands them over."""
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    chunks = [stream[start:end] for start, end in pairwise(places)]
    assert _read(chunks) == _read([stream])


@given(STREAMS)
def test_any_bytes_are_events_or_an_event_error(stream: bytes) -> None:
    """Nothing else is raised, and every event that can be answered has an id nhrpd could have given."""
    events, _ = _read([stream])
    for item in events:
        assert item.event_id is None or 0 < item.event_id < 2**32
        assert isinstance(item, BadEvent) or stream.count(b"remote_cert=")


@given(st.integers(0, len(GOOD) - 3), st.integers(0, 255))
def test_a_damaged_byte_never_raises(place: int, value: int) -> None:
    """One wrong byte anywhere in a good event is some event."""
    damaged = bytearray(GOOD)
    damaged[place] = value
    events, failed = _read([bytes(damaged)])
    assert not failed
    assert all(isinstance(item, AuthorizeBinding | BadEvent) for item in events)


@given(st.lists(st.integers(1, 2**32 - 1), max_size=5))
def test_events_come_out_as_they_went_in(ids: list[int]) -> None:
    """Every event of a burst is there, in order."""
    events, failed = _read([b"".join(event(number) for number in ids)])
    assert [item.event_id for item in events] == ids
    assert not failed
