"""The file of a recording."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
import structlog

from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.recorder import Recorder
from dmvpn_agent.admission.recording import read
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from factories import NOW, decide, event, request

Logs = list[structlog.typing.EventDict]
MESSAGE = event().removesuffix(b"\n\n")
ASKED = request(ike_peers=frozenset({IkePeer("CN=spoke1", True)}))
JUDGEMENT = DecisionRecord(NOW, ASKED, decide(request()))
UNREADABLE = DecisionRecord(NOW, None, Deny(Reason.MALFORMED_EVENT, "event", "a line is not ASCII", "an event"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def names(logs: Logs) -> list[str]:
    return [entry["event"] for entry in logs]


def test_events_are_recorded_in_order(file: Path, logs: Logs) -> None:
    """As they came, with what charon said and what was decided; ones that could not be read too."""
    recorder = Recorder(file)
    recorder.start()
    recorder.record(MESSAGE, JUDGEMENT)
    recorder.record(b"\xff=", UNREADABLE)
    recorder.stop()
    first, second = (read(line) for line in file.read_bytes().splitlines())
    assert isinstance(JUDGEMENT.decision, Accept)
    assert (first.time, first.message, first.ike_peers) == (NOW, MESSAGE, ASKED.ike_peers)
    assert first.outcome.entitled is not None
    assert first.outcome.entitled.as_number == 64512
    assert (second.message, second.outcome.reason) == (b"\xff=", Reason.MALFORMED_EVENT)
    assert names(logs) == ["recording", "recording_closed"]


def test_the_file_is_its_owners_only(file: Path, logs: Logs) -> None:
    """Even where it was there before with other rights; what it holds is kept."""
    file.write_bytes(b"before\n")
    file.chmod(0o644)
    recorder = Recorder(file)
    recorder.start()
    recorder.record(MESSAGE, JUDGEMENT)
    recorder.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().startswith(b"before\n{")


def test_a_symbolic_link_is_not_followed(file: Path) -> None:
    """Nobody can have the agent write to another file."""
    file.symlink_to("/dev/null")
    with pytest.raises(OSError, match=str(file)):
        Recorder(file).start()


def test_at_its_limit_the_recording_ends_and_nothing_else(file: Path, logs: Logs) -> None:
    """Whole lines only; it is said once."""
    recorder = Recorder(file, limit=5000)
    recorder.start()
    for _ in range(20):
        recorder.record(MESSAGE, JUDGEMENT)
    recorder.stop()
    content = file.read_bytes()
    assert 0 < len(content) <= 5000
    assert content.endswith(b"\n")
    assert all(read(line) for line in content.splitlines())
    assert names(logs).count("recording_ended") == 1


@pytest.mark.parametrize("written", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 7], ids=["nothing", "part"])
def test_a_full_disk_ends_the_recording_and_nothing_else(
    written: OSError | int, file: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the disk takes nothing or part of a line: it is said once."""

    def write(descriptor: int, line: bytes) -> int:
        if isinstance(written, OSError):
            raise written
        return written

    monkeypatch.setattr(os, "write", write)
    recorder = Recorder(file)
    recorder.start()
    recorder.record(MESSAGE, JUDGEMENT)
    recorder.record(MESSAGE, JUDGEMENT)
    recorder.stop()
    assert names(logs) == ["recording", "recording_ended", "recording_closed"]


def test_what_the_disk_is_too_slow_for_is_left_out(file: Path, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stalls holds nobody up; what was left out is counted, and said once."""
    stalled = threading.Event()
    write = os.write

    def stall(descriptor: int, line: bytes) -> int:
        stalled.wait()
        return write(descriptor, line)

    monkeypatch.setattr(os, "write", stall)
    recorder = Recorder(file, waiting=2)
    recorder.start()
    for _ in range(20):
        recorder.record(MESSAGE, JUDGEMENT)
    stalled.set()
    recorder.stop()
    assert names(logs) == ["recording", "recording_behind", "recording_closed"]
    written = len(file.read_bytes().splitlines())
    assert (2 <= written <= 3, logs[-1]["left_out"]) == (True, 20 - written)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_plain_files_are_recorded_into(kind: str, file: Path) -> None:
    """A pipe is not waited for, and a device keeps its rights."""
    if kind == "pipe":
        os.mkfifo(file)
    path = file if kind == "pipe" else Path("/dev/null")
    before = path.stat().st_mode
    with pytest.raises(OSError, match=str(path)):
        Recorder(path).start()
    assert path.stat().st_mode == before


def test_before_start_and_after_stop_nothing_is_recorded(file: Path, logs: Logs) -> None:
    """And stopping twice is nothing."""
    recorder = Recorder(file)
    recorder.record(MESSAGE, JUDGEMENT)
    recorder.start()
    recorder.stop()
    recorder.stop()
    recorder.record(MESSAGE, JUDGEMENT)
    assert file.read_bytes() == b""
