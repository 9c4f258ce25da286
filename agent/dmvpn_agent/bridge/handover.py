"""Replacing the running program by a newer one of itself: the same process, with its sockets and what it knew.

The supervisor sees nothing of it, because the process stays, nor does a client, because its connection stays.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from dmvpn_agent.bridge.handover_state import MAX_BYTES, BadHandover, Handover, decode_handover, encode_handover

log = structlog.get_logger()

#: Names the descriptor that the state is in, and the process it is for: a child that inherits it has no use for it.
VARIABLE = "DMVPN_BRIDGE_HANDOVER"
#: Signals that would end a program which has not started to handle them.
HELD_SIGNALS = frozenset({signal.SIGHUP, signal.SIGUSR2})
PREFLIGHT_TIMEOUT = 60.0
_MAX_WORDS = 2000
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class HandoverFailed(Exception):
    """The new program does not run; the old one goes on. The text says why."""


def command() -> list[str]:
    """Return what started this program, as it is to be started anew.

    An installed script is run by itself: its first line names the interpreter it was installed for.
    """
    script = Path(sys.argv[0])
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script.absolute()), *sys.argv[1:]]
    program = shutil.which(sys.orig_argv[0])
    return [program or sys.executable, *sys.orig_argv[1:]]


async def preflight() -> None:
    """Have the new program load all its parts and the configuration, in a child. Raises ``HandoverFailed``."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command(), "--preflight", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise HandoverFailed(f"{command()[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(PREFLIGHT_TIMEOUT):
            _, words = await child.communicate()
    except TimeoutError:
        raise HandoverFailed(f"it did not start within {PREFLIGHT_TIMEOUT:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    if child.returncode:
        said = words.decode(errors="replace")[-_MAX_WORDS:].strip()
        raise HandoverFailed(f"it ends with status {child.returncode}: {said}")


def replace_program(handover: Handover) -> None:
    """Become the new program; returns only by raising ``HandoverFailed``, with everything as it was."""
    inherited = [handover.listener, *(client.descriptor for client in handover.clients)]
    try:
        memory = _in_memory(encode_handover(handover))
    except (OSError, BadHandover) as error:
        raise HandoverFailed(f"the state cannot be passed on: {error}") from error
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        _inherit([memory, *inherited], True)
        argv = command()
        os.execve(argv[0], argv, {**os.environ, VARIABLE: f"{os.getpid()}:{memory}"})  # noqa: S606
    except (OSError, ValueError) as error:
        raise HandoverFailed(f"{command()[0]} cannot be started: {error}") from error
    finally:  # reached only where exec failed
        _inherit(inherited, False)
        os.close(memory)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)


def take_over() -> Handover | None:
    """Return what the program before this one left; call it before anything else opens a descriptor.

    Where that cannot be understood, all it left is closed: nhrpd then connects again, and resets its circuits.
    """
    named = os.environ.pop(VARIABLE, "")
    process, _, memory = named.partition(":")
    if process != str(os.getpid()) or not memory.isdecimal():
        return None
    try:
        with open(int(memory), "rb") as stream:  # noqa: PTH123  a descriptor
            stream.seek(0)
            handover = decode_handover(stream.read(MAX_BYTES + 1))
        _take_up([handover.listener, *(client.descriptor for client in handover.clients)])
    except (OSError, BadHandover) as error:
        log.error("handover_refused", why=str(error), consequence="nhrpd resets its circuits")
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        return None
    return handover


def _in_memory(data: bytes) -> int:
    memory = os.memfd_create("dmvpn-bridge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(memory, view) :]
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    return memory


def _take_up(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise BadHandover(f"descriptor {descriptor} is no socket")
    _inherit(descriptors, False)


def _inherit(descriptors: Iterable[int], inheritable: bool) -> None:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, inheritable)
