"""Replaces the running program by the installed one in the same process, with its sockets and state (an upgrade).

The process stays, so the supervisor does not notice; the connections stay, so no client does.
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

#: Environment variable: the process that the state is for, and its descriptor. A child that inherits it ignores it.
VARIABLE = "DMVPN_BRIDGE_HANDOVER"
#: Signals that end a program before it has installed its handlers; they wait during an upgrade.
HELD_SIGNALS = frozenset({signal.SIGHUP, signal.SIGUSR2})
PREFLIGHT_TIMEOUT = 60.0
_MAX_STDERR = 2000
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class HandoverFailed(Exception):
    """The new program does not run, and the old one continues; the text says why."""


def command() -> list[str]:
    """Return the command that starts the installed program with the same arguments.

    An installed script is executed itself, because its first line names the right interpreter.
    """
    script = Path(sys.argv[0])
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script.absolute()), *sys.argv[1:]]
    program = shutil.which(sys.orig_argv[0])
    return [program or sys.executable, *sys.orig_argv[1:]]


async def preflight() -> None:
    """Let the installed program load all modules and the configuration, in a child. Raises ``HandoverFailed``."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command(), "--preflight", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise HandoverFailed(f"{command()[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(PREFLIGHT_TIMEOUT):
            _, errors = await child.communicate()
    except TimeoutError:
        raise HandoverFailed(f"{command()[0]} --preflight took more than {PREFLIGHT_TIMEOUT:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    if child.returncode:
        text = errors.decode(errors="replace")[-_MAX_STDERR:].strip()
        raise HandoverFailed(f"{command()[0]} --preflight ends with status {child.returncode}: {text}")


def replace_program(handover: Handover) -> None:
    """Become the installed program. Raises ``HandoverFailed`` if that fails, with everything as it was."""
    inherited = [handover.listener, *(client.descriptor for client in handover.clients)]
    try:
        memory = _in_memory(encode_handover(handover))
    except (OSError, BadHandover) as error:
        raise HandoverFailed(f"the state cannot be handed over: {error}") from error
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        _inherit([memory, *inherited], True)
        argv = command()
        os.execve(argv[0], argv, {**os.environ, VARIABLE: f"{os.getpid()}:{memory}"})  # noqa: S606
    except (OSError, ValueError) as error:
        raise HandoverFailed(f"{command()[0]} cannot be started: {error}") from error
    finally:  # reached only if exec failed
        _inherit(inherited, False)
        os.close(memory)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)


def take_over() -> Handover | None:
    """Return what the program before this one handed over; call this before anything else opens a descriptor.

    If it cannot be read, all inherited descriptors are closed: nhrpd reconnects and resets its circuits.
    """
    process, _, memory = os.environ.pop(VARIABLE, "").partition(":")
    if process != str(os.getpid()) or not memory.isdecimal():
        return None
    try:
        with open(int(memory), "rb") as stream:  # noqa: PTH123  a descriptor
            stream.seek(0)
            handover = decode_handover(stream.read(MAX_BYTES + 1))
        _check_sockets([handover.listener, *(client.descriptor for client in handover.clients)])
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


def _check_sockets(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise BadHandover(f"descriptor {descriptor} is not a socket")
    _inherit(descriptors, False)


def _inherit(descriptors: Iterable[int], inheritable: bool) -> None:
    for descriptor in descriptors:
        os.set_inheritable(descriptor, inheritable)
