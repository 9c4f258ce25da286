"""What the watcher and the bridge need of charon: one connection for commands and events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from dmvpn_agent.charon.vici import Section
from dmvpn_agent.runtime.debounced_event import DebouncedEvent

#: What charon tells of SAs that come, go and change.
SA_EVENTS = ("ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey")
#: Since strongSwan 6.0.3: something went wrong.
ALERT_EVENT = "alert"
#: Only strongSwan with Alpine's patches knows this event, without which nhrpd cannot work with it.
PATCHED_EVENT = "child-state-installed"

Read = TypeVar("Read")


class CharonLost(Exception):
    """The connection to charon ended or is of no further use; what was known of its SAs is stale."""


class CommandFailed(Exception):
    """charon does not know a command, or says in its own words that it failed; or VICI cannot carry the command."""


class CharonSession(Protocol):
    """An open connection to charon. Every method raises ``CharonLost`` when it ends."""

    async def request(self, command: str, message: Section) -> Section:
        """Run a command and return its answer. Raises ``CommandFailed``."""

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        """Run a command that answers by events; return what ``read`` makes of each message as it comes.

        Raises ``CommandFailed``, and what ``read`` raises.
        """

    async def register(self, event: str) -> bool:
        """Ask for an event; return whether charon knows it."""

    def events(self) -> AsyncIterator[tuple[str, Section]]:
        """Yield the events asked for by name, as they come."""


class Charon(Protocol):
    """The charon of this node."""

    def session(self) -> AbstractAsyncContextManager[CharonSession]:
        """Connect, however long that takes."""


async def follow(
    session: CharonSession,
    heard: Callable[[str, Section], bool],
    look: Callable[[], Awaitable[float | None]],
    *,
    resync_interval: float,
    coalesce: float = 0,
) -> None:
    """Look at once, after events, and at intervals (seconds), until the connection ends: raises ``CharonLost``.

    ``heard`` is told each event as it comes, and says whether to look; ``look`` is then called once for all that
    came within ``coalesce``; it may return in how many seconds the next is due, if sooner.
    """
    trigger = DebouncedEvent()

    async def listen() -> None:
        try:
            async for name, message in session.events():
                if heard(name, message):
                    trigger.set()
        finally:
            trigger.set()

    listener = asyncio.create_task(listen())
    try:
        while not listener.done():
            due = await look()
            await trigger.wait(within=resync_interval if due is None else min(due, resync_interval), then=coalesce)
        await listener
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
