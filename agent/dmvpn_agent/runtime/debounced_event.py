"""Waiting for something to do: what arrives together is done together."""

import asyncio
from contextlib import suppress


class DebouncedEvent:
    """An event that is awaited for a limited time; a little later, all that came meanwhile counts as one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._urgent = asyncio.Event()

    def set(self, *, urgent: bool = False) -> None:
        """Have the waiter go on; if ``urgent``, at once."""
        self._event.set()
        if urgent:
            self._urgent.set()

    async def wait(self, *, within: float, then: float = 0) -> None:
        """Return ``then`` seconds after it is set, at once if that is urgent, or after ``within`` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(then):
                await self._urgent.wait()
        self._event.clear()
        self._urgent.clear()
