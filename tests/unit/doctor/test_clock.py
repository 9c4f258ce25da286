"""The node's clock: only what contradicts it is reported, so that a node without a time server has no warning."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from dmvpn_agent.doctor import inspect_clock
from dmvpn_agent.doctor.check import Level
from dmvpn_agent.doctor.clock import ClockView
from dmvpn_agent.doctor.clock_checks import clock_checks
from dmvpn_agent.doctor.inspect_clock import read_clock
from dmvpn_agent.doctor.node import Unknown
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.program import Completed, ProgramError
from dmvpn_agent.x509.trust import Trust
from factories import NOW

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("clock", "level", "words"),
    [
        (ClockView(), Level.OK, "no time daemon"),
        (ClockView("chronyd", None), Level.OK, "no time daemon that says"),
        (ClockView("chronyd", True), Level.OK, "synchronised by chronyd"),
        (ClockView("chronyd", False), Level.WARNING, "has not synchronised it"),
        (ClockView(file="/a", written=NOW + 9 * MINUTE), Level.OK, "no time daemon"),
        (ClockView(file="/a", written=NOW + 11 * MINUTE), Level.WARNING, "wrote /a at"),
        # The clock was ahead, and is right now.
        (ClockView("chronyd", True, "/a", NOW + 60 * MINUTE), Level.OK, "synchronised"),
        (ClockView(authorities_from=NOW - MINUTE), Level.OK, "no time daemon"),
        (ClockView(authorities_from=NOW + MINUTE), Level.FAULT, "valid from"),
    ],
)
def test_a_clock_is_wrong_if_something_contradicts_it(clock: ClockView, level: Level, words: str) -> None:
    """A synchronised one, an old file, a CA that is valid: none does."""
    (check,) = clock_checks(clock, NOW)
    assert check.name == "clock"
    assert check.level is level
    assert words in check.found
    assert bool(check.do) is (level is not Level.OK)


def test_what_cannot_be_read_is_no_warning() -> None:
    """Other checks say that the state directory cannot be read."""
    assert list(clock_checks(Unknown("no permission"), NOW)) == []


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    """A /proc with two processes, one of which has ended."""
    folder = tmp_path / "proc"
    for name in ("1", "22", "self"):
        (folder / name).mkdir(parents=True)
    (folder / "1" / "comm").write_text("init\n")
    return folder


async def test_the_newest_file_counts_by_the_time_when_it_was_written(tmp_path: Path, processes: Path) -> None:
    """A copy that keeps the time of its content, or a time that somebody set, does not count."""
    state = tmp_path / "state"
    state.mkdir()
    assert (await read_clock(state, Trust(), processes)).written is None
    for name in ("agent.sqlite", "agent.sqlite-wal"):
        (state / name).touch()
        os.utime(state / name, (0, 2 * utc_now().timestamp()))
    clock = await read_clock(state, Trust(), processes)
    assert clock.written is not None
    assert abs(clock.written - utc_now()) < timedelta(hours=1)
    assert Path(clock.file).parent == state
    assert clock.daemon == ""
    assert (await read_clock(tmp_path / "none", Trust(), processes)).written is None


@pytest.mark.parametrize(
    ("printed", "status", "synchronised"),
    [
        ("C0000201,192.0.2.1,3,1780000000.1,0.000001,0,0,0.5,0,0.1,0.01,0.02,64.2,Normal\n", 0, True),
        ("00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n", 0, False),
        ("506 Cannot talk to daemon\n", 1, None),
        ("", 0, None),
        (None, 0, None),
    ],
)
async def test_chronyd_is_asked_itself(
    tmp_path: Path, processes: Path, monkeypatch: pytest.MonkeyPatch, printed: str | None, status: int,
    synchronised: bool | None,
) -> None:  # fmt: skip
    """Without ``rtcsync`` the kernel never learns from it."""

    async def run(argv: tuple[str, ...], **_: object) -> Completed:
        assert argv[0] == "chronyc"
        if printed is None:
            raise ProgramError("chronyc cannot be started")
        return Completed(status, printed, "")

    monkeypatch.setattr(inspect_clock, "run", run)
    (processes / "1" / "comm").write_text("chronyd\n")
    clock = await read_clock(tmp_path, Trust(), processes)
    assert (clock.daemon, clock.synchronised) == ("chronyd", synchronised)


async def test_timesyncds_word_is_the_kernels(tmp_path: Path, processes: Path) -> None:
    """Of whatever state this machine's clock is."""
    (processes / "1" / "comm").write_text("systemd-timesyn\n")
    clock = await read_clock(tmp_path, Trust(), processes)
    assert clock.daemon == "systemd-timesyncd"
    assert clock.synchronised in {True, False}
