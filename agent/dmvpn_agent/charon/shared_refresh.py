"""One refresh at a time, shared by all that request it meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable


class SharedRefresh:
    """Runs ``refresh`` one at a time: two at once could leave an older list in place of a newer one."""

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh
        self._lock = asyncio.Lock()
        self._started = self._finished = 0

    async def request(self) -> None:
        """Return after a refresh that started after this request; requests made during a refresh share the next."""
        started = self._started
        async with self._lock:
            if self._finished <= started:
                await self._run()

    async def run(self) -> None:
        """Refresh, after a refresh that is under way."""
        async with self._lock:
            await self._run()

    async def _run(self) -> None:
        self._started += 1
        number = self._started
        await self._refresh()
        self._finished = number
