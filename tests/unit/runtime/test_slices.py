"""Long work on the event loop."""

import asyncio

from dmvpn_agent.runtime import slices
from dmvpn_agent.runtime.slices import in_slices
from fakes.waiting import running


async def test_other_tasks_run_in_between(monkeypatch: object) -> None:
    """A request that arrives while a thousand peers are judged is answered before the last of them."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    slices.SLICE, before = 0, slices.SLICE
    try:
        async with running(other()):
            seen = [number async for number in in_slices(range(100))]
    finally:
        slices.SLICE = before
    assert seen == list(range(100))
    assert turns >= 99


async def test_short_work_is_not_interrupted() -> None:
    """Other tasks do not run within a slice."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running(other()):
        assert [number async for number in in_slices([1, 2])] == [1, 2]
        assert turns == 0
