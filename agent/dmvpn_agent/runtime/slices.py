"""Long work on the event loop, in slices, so that everything else has its turn: answers to nhrpd, above all."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

#: Seconds of work without a pause.
SLICE = 0.01


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items; let the event loop run whenever the work on them has taken ``SLICE`` seconds.

    The state may change between two items.
    """
    began = perf_counter()
    for item in items:
        yield item
        if perf_counter() - began >= SLICE:
            await asyncio.sleep(0)
            began = perf_counter()
