"""Running a program: an argv list, bounded in time and output. No shell, ever."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass


class ProgramError(Exception):
    """A program could not be run to its end; the text names it."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended, and what it printed."""

    status: int
    stdout: str
    stderr: str


async def run(argv: Sequence[str], *, stdin: str = "", timeout: float, max_output: int) -> Completed:
    """Run a program to its end.

    Raises ``ProgramError``: not found or not executable, not done within ``timeout`` seconds (it is killed), or it
    printed more than ``max_output`` bytes.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a process group of its own, so that its children can be ended with it
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]} cannot be started: {error.strerror}; is it installed?") from error
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr, _ = await asyncio.gather(
                _read(process.stdout, max_output), _read(process.stderr, max_output), _feed(process.stdin, stdin)
            )
            status = await process.wait()
    except TimeoutError:
        raise ProgramError(f"{argv[0]} did not end within {timeout:g} s and was killed") from None
    except _TooMuch:
        raise ProgramError(f"{argv[0]} printed more than {max_output} bytes and was killed") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Completed(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


class _TooMuch(Exception):
    pass


async def _read(stream: asyncio.StreamReader | None, limit: int) -> bytes:
    assert stream is not None  # noqa: S101  PIPE was asked for
    data = bytearray()
    while chunk := await stream.read(65536):
        data += chunk
        if len(data) > limit:
            raise _TooMuch
    return bytes(data)


async def _feed(stream: asyncio.StreamWriter | None, text: str) -> None:
    assert stream is not None  # noqa: S101  PIPE was asked for
    try:
        stream.write(text.encode())
        await stream.drain()
        stream.close()
        await stream.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it ended without reading; its status says the rest
