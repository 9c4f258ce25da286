"""Waiting for work: what arrives together is done together."""

import asyncio
from contextlib import suppress


class DebouncedEvent:
    """An event with a time-out, and with a delay in which further events count as the same one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._urgent = asyncio.Event()

    def set(self, *, urgent: bool = False) -> None:
        """Wake the waiter; at once if ``urgent``."""
        self._event.set()
        if urgent:
            self._urgent.set()

    async def wait(self, *, within: float, then: float = 0) -> bool:
        """Return ``then`` seconds after the event is set, at once if it is urgent; or after ``within`` seconds.

        The result tells whether the event was set.
        """
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(then):
                await self._urgent.wait()
        self._event.clear()
        self._urgent.clear()
        return True
