"""The log: whole lines, short enough for their reader, and never so many that they fill a disk."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission.decision_record import REPEAT_INTERVAL, DecisionLog, DecisionRecord
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.log_limits import LONG_LINE, SYSLOG_LINE, FloodLimit, LineLimit, line_limit
from dmvpn_agent.runtime.log_queue import LogQueue, LogStream
from factories import NOW, decide, request


def _unreported(_: int) -> None:
    raise AssertionError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_lines_are_written_in_order_and_whole(pipe: tuple[int, int]) -> None:
    """Characters that cannot be encoded are escaped."""
    queue = LogQueue(pipe[1], _unreported)
    queue.start()
    for line in ("one", "two", "\ud800"):
        queue.put(line)
    assert queue.stop()
    assert os.read(pipe[0], 1000) == b"one\ntwo\n\\ud800\n"


def test_a_descriptor_without_a_reader_costs_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    """After EPIPE and EBADF alike the lines are counted."""
    reader, writer = os.pipe()
    os.close(reader)
    queue = LogQueue(writer, _unreported)
    queue.start()
    queue.put("one")
    assert queue.flush()
    os.close(writer)
    queue.put("two")
    assert queue.stop()
    assert queue.dropped == {"queue_full": 0, "unwritable": 2}


def test_a_shared_descriptor_that_does_not_block_loses_nothing(pipe: tuple[int, int]) -> None:
    """Another program may have set O_NONBLOCK on it: the queue waits for a full pipe all the same."""
    os.set_blocking(pipe[1], False)
    queue = LogQueue(pipe[1], _unreported)
    queue.start()
    for _ in range(200):
        queue.put("x" * 999)
    text = b""
    while len(text) < 200_000:
        text += os.read(pipe[0], 65536)
    assert queue.stop()
    assert text == (b"x" * 999 + b"\n") * 200


def test_a_full_queue_drops_and_reports(pipe: tuple[int, int]) -> None:
    """The number of dropped lines is reported when lines are written again."""
    reports: list[int] = []
    queue = LogQueue(pipe[1], reports.append, waiting=10)
    for number in range(25):
        queue.put(str(number))
    queue.start()
    assert queue.stop()
    assert os.read(pipe[0], 1000).split() == [b"%d" % number for number in range(10)]
    assert (reports, queue.dropped["queue_full"]) == ([15], 15)


def test_text_that_libraries_print_becomes_lines() -> None:
    """It comes in pieces, as from print() and tracebacks, or without a line end."""
    lines: list[str] = []
    stream = LogStream(lines.append, 2)
    print("a", "b", file=stream)
    stream.write("c\nd")
    stream.write("x" * 100_000)
    stream.write("\n")
    assert lines[:2] == ["a b", "c"]
    assert lines[2].startswith("dxxx")


def test_messages_of_libraries_become_our_events(capfd: pytest.CaptureFixture[str]) -> None:
    """asyncio logs failed callbacks; that must not bypass the queue."""
    with logs.running():
        logging.getLogger("asyncio").error("boom %s", 1)
        print("printed", file=sys.stderr)
    first, second = capfd.readouterr().err.splitlines()
    assert json.loads(first)["text"] == "boom 1"
    assert second == "printed"


TEXT = st.text(max_size=3000)
EVENTS = st.dictionaries(
    st.sampled_from(["why", "subject", "exception", "peers"]),
    TEXT | st.lists(TEXT, max_size=5) | st.integers(0, 10**9) | st.none(),
)


@given(EVENTS)
def test_a_line_is_never_longer_than_its_limit(fields: dict[str, object]) -> None:
    """Whatever a certificate contains: the line stays JSON, and keeps its event and level."""
    event = {"event": "binding_decided", "level": "warning", **fields}
    cut = LineLimit(SYSLOG_LINE)(None, "", dict(event))
    assert len(json.dumps(cut)) < SYSLOG_LINE
    assert (cut["event"], cut["level"]) == ("binding_decided", "warning")
    if len(json.dumps(event)) < SYSLOG_LINE:
        assert cut == event


def test_a_traceback_keeps_its_end() -> None:
    """It ends with the error."""
    cut = LineLimit(SYSLOG_LINE)(None, "", {"event": "failed", "exception": "x" * 5000 + "ValueError: 7"})
    assert str(cut["exception"]).endswith("ValueError: 7")


def test_a_pipe_gets_short_lines_and_a_file_long_ones(pipe: tuple[int, int]) -> None:
    """The reader of a pipe is usually ``logger``; journald's socket and a file take more."""
    assert line_limit(pipe[1]) == SYSLOG_LINE
    with open(os.devnull, "wb") as file:  # noqa: PTH123
        assert line_limit(file.fileno()) == LONG_LINE
    assert line_limit(10_000) == SYSLOG_LINE


def test_a_flood_of_one_event_is_limited_and_no_other_event() -> None:
    """After a burst one line a second is written, with the number of the suppressed ones."""
    time = 0.0
    flood = FloodLimit(burst=3, rate=1.0, clock=lambda: time)
    kept: list[object] = []
    for _ in range(10):
        try:
            kept.append(flood(None, "", {"event": "a"}))
        except structlog.DropEvent:
            continue
    assert (len(kept), flood.dropped) == (3, 7)
    assert flood(None, "", {"event": "b"}) == {"event": "b"}
    time = 1.0
    assert flood(None, "", {"event": "a"}) == {"event": "a", "suppressed": 7}


def _denied(address: str, found: str) -> DecisionRecord:
    deny = Deny(Reason.PROTOCOL_ADDRESS_MISMATCH, "GRE", found, "10.255.0.2")
    return DecisionRecord(NOW, request(protocol_address=address), deny)


def test_a_denied_peer_is_logged_once_until_something_changes(logs: list[structlog.typing.EventDict]) -> None:
    """Each peer by itself; a repetition much later has the number of those in between."""
    time = 0.0
    audit = DecisionLog(lambda: time)
    for _ in range(5):
        audit.write(_denied("10.255.0.2", "10.255.0.3"))
        audit.write(_denied("10.255.0.9", "10.255.0.3"))
    assert len(logs) == 2
    audit.write(_denied("10.255.0.2", "10.255.0.4"))
    assert len(logs) == 3
    time = REPEAT_INTERVAL
    audit.write(_denied("10.255.0.9", "10.255.0.3"))
    assert (len(logs), logs[3]["repeats"]) == (4, 4)


def test_accepts_are_all_logged_and_end_a_series(logs: list[structlog.typing.EventDict]) -> None:
    """A denial after an accept is logged again."""
    audit = DecisionLog(lambda: 0.0)
    accepted = DecisionRecord(NOW, request(), decide(request()))
    denied = DecisionRecord(NOW, request(), Deny(Reason.NO_CERTIFICATE, "certificate", "none", "one"))
    for judgement in (accepted, accepted, denied, denied, accepted, denied):
        audit.write(judgement)
    assert [entry["decision"] for entry in logs] == ["accept", "accept", "deny", "accept", "deny"]


def test_a_command_writes_its_warnings_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no log thread: it may end at any moment."""
    logs.set_up_for_command()
    structlog.get_logger().warning("odd", why="x")
    assert "odd" in capsys.readouterr().err
    assert isinstance(sys.stderr, io.TextIOBase)
