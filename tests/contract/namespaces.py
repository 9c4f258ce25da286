"""Running a test in a network namespace of its own."""

import asyncio
import ctypes
import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import pytest

CLONE_NEWNET = 0x40000000

P = ParamSpec("P")


def in_network_namespace(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a thread with a new network namespace; programs it starts are in it as well."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        failures: list[BaseException] = []

        def body() -> None:
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "unshare")
                asyncio.run(test(*args, **kwargs))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    return run


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of a test that needs root and these programs."""
    there = os.geteuid() == 0 and all(shutil.which(program) for program in programs)
    return pytest.mark.skipif(not there, reason=f"needs root and {', '.join(programs)}")


def kernel_makes(kind: str) -> bool:
    """Tell whether this kernel has this kind of interface, given as to ``ip link add``."""
    words = ("unshare", "--net", "ip", "link", "add", "probe", "type", *kind.split())
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


def command(*words: str, stdin: str = "") -> str:
    """Run a program in the namespace of the calling thread, and return what it prints."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
