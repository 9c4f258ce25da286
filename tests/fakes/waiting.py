"""Waiting for a condition instead of for a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

LIMIT = 30.0


async def until(condition: Callable[[], object]) -> None:
    """Let everything else run until the condition holds. Raises ``TimeoutError`` after half a minute."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.001)


def until_now(condition: Callable[[], object], within: float = LIMIT) -> None:
    """Wait, without an event loop, until the condition holds. Raises ``TimeoutError`` after so many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Have something run meanwhile; it is cancelled at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
