"""A session with charon over VICI: one connection for commands (``commands.py``) and events (``events.py``)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Set
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from dmvpn_agent.charon.events import CharonEvent, decode_event
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.runtime.clocks import Clock
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

Read = TypeVar("Read")


class CharonLost(Exception):
    """The connection to charon ended or is unusable; what was known of its SAs is stale."""


class CommandFailed(Exception):
    """charon does not know a command or refuses it, with charon's own text; or VICI cannot carry the command."""


class CharonSession(Protocol):
    """An open connection to charon. Every method raises ``CharonLost`` when it ends."""

    async def request(self, command: str, message: Section) -> Section:
        """Run a command and return its answer. Raises ``CommandFailed``."""

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        """Run a command that answers by events; return what ``read`` makes of each message as it arrives.

        Raises ``CommandFailed``, and what ``read`` raises.
        """

    async def register(self, event: str) -> bool:
        """Register for an event; return whether charon knows it."""

    def events(self) -> AsyncIterator[tuple[str, Section]]:
        """Yield the registered events, each with its name, as they arrive."""


class Charon(Protocol):
    """The charon of this node."""

    def session(self) -> AbstractAsyncContextManager[CharonSession]:
        """Connect, however long that takes."""


async def decoded_events(
    session: CharonSession, connections: Set[str], unreadable: Unreadable, clock: Clock
) -> AsyncIterator[CharonEvent]:
    """Yield charon's events about the SAs of these connections, and its alerts. Raises ``CharonLost``.

    What cannot be read of an event is noted in ``unreadable``.
    """
    async for name, message in session.events():
        event = decode_event(name, message, connections, clock())
        if event.problem:
            unreadable.skip(ItemSource.CHARON_EVENT, event.problem, f"{name}: {event.problem}")
        yield event


async def follow(
    events: AsyncIterator[CharonEvent],
    apply: Callable[[CharonEvent], bool],
    refresh: Callable[[], Awaitable[float | None]],
    *,
    resync_interval: float,
    coalesce: float = 0,
) -> None:
    """Refresh at once, after events, and at intervals (seconds), until the connection ends: raises ``CharonLost``.

    ``apply`` is called with each event as it arrives, and returns whether to refresh. One ``refresh`` serves all
    events that arrive within ``coalesce`` seconds; it may return in how many seconds the next is due, if sooner.
    """
    trigger = DebouncedEvent()

    async def listen() -> None:
        try:
            async for event in events:
                if apply(event):
                    trigger.set()
        finally:
            trigger.set()

    listener = asyncio.create_task(listen())
    try:
        while not listener.done():
            due = await refresh()
            await trigger.wait(within=resync_interval if due is None else min(due, resync_interval), then=coalesce)
        await listener
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
