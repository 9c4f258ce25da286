"""Running a program, bounded in time and output."""

import asyncio
from pathlib import Path

import pytest

from dmvpn_agent.runtime.program import Completed, ProgramError, run


async def test_a_program_is_run_with_its_input() -> None:
    """Status, output and error output are separate."""
    done = await run(("sh", "-c", "cat; echo err >&2; exit 3"), stdin="in", timeout=20, max_output=100)
    assert done == Completed(3, "in", "err\n")


async def test_a_missing_program_is_named() -> None:
    """The message asks whether it is installed."""
    with pytest.raises(ProgramError, match=r"^/no/vtysh cannot be started: No such file or directory; is it"):
        await run(("/no/vtysh",), timeout=20, max_output=100)


async def test_a_program_that_prints_too_much_is_killed() -> None:
    """The limit bounds the memory."""
    with pytest.raises(ProgramError, match="printed more than 1000 bytes and was killed"):
        await run(("yes",), timeout=20, max_output=1000)


async def test_a_program_that_prints_without_end_is_killed_at_any_limit() -> None:
    """Also if much more is in the pipe when the limit is exceeded."""
    for limit in (0, 100_000, 1_000_000):
        with pytest.raises(ProgramError, match="was killed"):
            await run(("yes",), timeout=20, max_output=limit)


async def test_output_of_exactly_the_limit_is_kept() -> None:
    """Whatever the size of the pipe."""
    done = await run(("head", "-c", "1000000", "/dev/zero"), timeout=20, max_output=1_000_000)
    assert len(done.stdout) == 1_000_000


async def test_large_input_and_output_do_not_block_each_other() -> None:
    text = "x" * 3_000_000
    assert (await run(("cat",), stdin=text, timeout=20, max_output=4_000_000)).stdout == text


async def test_input_that_the_program_does_not_read_is_not_an_error() -> None:
    """The program's status counts."""
    done = await run(("true",), stdin="x" * 1_000_000, timeout=20, max_output=100)
    assert done.status == 0


async def test_output_that_is_not_utf_8_is_read() -> None:
    """Other bytes are replaced."""
    done = await run(("printf", r"\377"), timeout=20, max_output=100)
    assert done.stdout == "\ufffd"


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Also if the program is a script whose child keeps the pipes open."""
    child = tmp_path / "pid"
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {child}.new\nmv {child}.new {child}\nwait\n")
    script.chmod(0o755)
    with pytest.raises(ProgramError, match=r"wrapper did not end within 0\.5 s and was killed"):
        await run((str(script),), timeout=0.5, max_output=100)
    async with asyncio.timeout(20):
        while _runs(child.read_text().strip()):
            await asyncio.sleep(0)


def _runs(pid: str) -> bool:
    """Tell whether a process exists and is not a zombie; it may end at any time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo why >&2; exit 3", "why"),
        ("exit 3", "status 3, and no message"),
        ("kill -SEGV $$", "it crashed, or was killed: Segmentation fault (signal 11)"),
    ],
)
async def test_a_failure_is_described_in_words(script: str, message: str) -> None:
    """A negative status means nothing to an operator."""
    assert (await run(["sh", "-c", script], timeout=30, max_output=1000)).message == message
