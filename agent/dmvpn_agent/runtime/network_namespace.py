"""A network namespace without anything in it, in which programs can try what they would do to this node."""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


async def in_empty_namespace(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine and the programs that it starts in a network namespace that goes away afterwards.

    Raises ``OSError`` without CAP_SYS_ADMIN, and what the coroutine raises.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                error = ctypes.get_errno()
                raise OSError(error, f"an empty network namespace: {os.strerror(error)}")
            results.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    # A thread of its own: it stays in the namespace until it ends.
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join)
    if errors:
        raise errors[0]
    return results[0]
