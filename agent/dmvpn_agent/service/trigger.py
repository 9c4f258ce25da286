"""Waiting for something to do: what arrives together is done together."""

import asyncio


class Trigger:
    """An event that is awaited for a limited time; a little later, all that came meanwhile counts as one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Have the waiter go on."""
        self._event.set()

    async def wait(self, *, within: float, then: float = 0) -> None:
        """Return ``then`` seconds after it is set, or after ``within`` seconds without that."""
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return
        await asyncio.sleep(then)
        self._event.clear()
