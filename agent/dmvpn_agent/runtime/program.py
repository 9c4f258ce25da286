"""Running a program: an argv list, never a shell; bounded in time and output."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass


class ProgramError(Exception):
    """A program could not be started, or was killed; the text names it."""


class ProgramTimeoutError(ProgramError):
    """A program was killed because it took too long."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Exit status and output of a program."""

    status: int
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """Return why it failed, in its own words as far as it has any."""
        return " ".join(self.stderr.split())[:300] or _ending(self.status)


def _ending(status: int) -> str:
    if status >= 0:
        return f"status {status}, and no message"
    return f"it crashed, or was killed: {signal.strsignal(-status) or 'unknown'} (signal {-status})"


async def run(argv: Sequence[str], *, stdin: str = "", timeout: float, max_output: int) -> Completed:
    """Run a program until it has ended and all processes that inherited its output have closed it.

    Raises ``ProgramError`` if it cannot be started, takes longer than ``timeout`` seconds, or prints more than
    ``max_output`` bytes. In the last two cases it is killed with its children, and not waited for.
    """
    program = _Program(max_output)
    try:
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            lambda: program,
            *argv,
            start_new_session=True,  # its own process group, so that its children can be killed with it
        )
    except OSError as error:
        raise ProgramError(f"{argv[0]} cannot be started: {error.strerror}; is it installed?") from error
    try:
        _feed(transport, stdin)
        async with asyncio.timeout(timeout):
            await program.ended
    except TimeoutError:
        raise ProgramTimeoutError(f"{argv[0]} did not end within {timeout:g} s and was killed") from None
    except _TooMuch:
        raise ProgramError(f"{argv[0]} printed more than {max_output} bytes and was killed") from None
    finally:
        if not program.gone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
        transport.close()
    status = transport.get_returncode()
    assert status is not None  # noqa: S101  it has ended
    return Completed(status, program.printed(1), program.printed(2))


class _TooMuch(Exception):
    pass


class _Program(asyncio.SubprocessProtocol):
    """Collects a program's output; ``ended`` is done when the program has ended, or fails if it prints too much.

    asyncio's streams stop reading when their buffer is full, and then never notice that a killed program has ended.
    """

    def __init__(self, max_output: int) -> None:
        self._max_output = max_output
        self._output = {1: bytearray(), 2: bytearray()}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = False

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.ended.done():
            return
        self._output[fd] += data
        if len(self._output[fd]) > self._max_output:
            self.ended.set_exception(_TooMuch())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if not self.ended.done():
            self.ended.set_result(None)

    def printed(self, fd: int) -> str:
        return self._output[fd].decode(errors="replace")


def _feed(transport: asyncio.SubprocessTransport, text: str) -> None:
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)  # noqa: S101  a pipe is the default
    pipe.write(text.encode())
    pipe.close()
