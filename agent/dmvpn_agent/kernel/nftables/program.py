"""nftables by the nft program.

The program takes 3 ms for one element and 60 ms for a thousand peers, libnftables 0.3 and 40 ms. But the library
would stop the event loop meanwhile, and its failed assertions would end the agent.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from dmvpn_agent.kernel.nftables import blocked, script
from dmvpn_agent.kernel.nftables.blocked import UdpEndpoint
from dmvpn_agent.kernel.nftables.firewall import FirewallError, FirewallSlowError, TableChangedError
from dmvpn_agent.kernel.nftables.script import TABLE
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.shown_table import Count, NftFormatError, ShownTable, parse_elements, parse_table
from dmvpn_agent.runtime.program import Completed, ProgramError, ProgramTimeoutError, run

TIMEOUT = 10.0
MAX_OUTPUT = 16 << 20
#: How many sets are read at the same time. A program may have put any number into the table.
READS = 4
_ABSENT = "No such file or directory"


class Nftables:
    """The agent's table. All writers share one instance, because it keeps track of the blocked endpoints."""

    def __init__(self) -> None:
        self._blocked: dict[UdpEndpoint, float] = {}
        self._writing = asyncio.Lock()
        self._reading = asyncio.Semaphore(READS)

    async def show(self) -> ShownTable | None:
        """Return the agent's table, ``None`` if there is none.

        Raises ``FirewallError``, or ``TableChangedError`` if the table goes away while it is read.
        """
        # -t (terse): without the up to 65535 elements of a set that packets fill.
        shown = await self._list("-t", "list", "table", *TABLE.split())
        if shown is None:
            return None
        try:
            table = parse_table(shown)
            # One run for each set: of several in one run, nft 1.0.6 finds the last one only.
            reads = (self._elements(table, name) for name in table.kept_sets)
            found = await asyncio.gather(*reads, return_exceptions=True)
            elements = dict(zip(table.kept_sets, map(_unless_failed, found), strict=True))
        except NftFormatError as error:
            raise FirewallError(str(error)) from error
        return replace(table, elements=elements)

    async def _elements(self, table: ShownTable, name: str) -> Mapping[str, Count]:
        kind = "map" if f"map {name}" in table.content else "set"
        async with self._reading:
            listed = await self._list("list", kind, *TABLE.split(), name)
        if listed is None:
            raise TableChangedError(f"{kind} {name} of table {TABLE} went away while it was read")
        # In a thread, because a thousand peers have 7,000 elements: the agent answers nhrpd in the meantime.
        return await asyncio.to_thread(parse_elements, listed)

    async def text(self) -> str:
        """Return the table as nft prints it, without elements and what was counted. Raises ``FirewallError``."""
        done = await self._nft("-s", "-t", "list", "table", *TABLE.split())
        if done.status != 0:
            raise FirewallError(f"nft cannot list table {TABLE}: {done.message}")
        return done.stdout

    async def install(self, sections: tuple[Section, ...]) -> None:
        """Replace the agent's table; blocked endpoints stay blocked. Raises ``FirewallError``."""
        async with self._writing:
            text = script.render(sections)
            if blocked.BLOCKED in sections:
                text += _block(self._still_blocked())
            done = await self._nft("-f", "-", stdin=text)
        if done.status != 0:
            raise FirewallError(f"nft refuses table {TABLE}: {done.message}")

    async def refusal(self, section: Section) -> str:
        """Return why nft or the kernel refuses a section; empty if it does not. Nothing is changed.

        Raises ``FirewallError`` if nft cannot be run, or refuses any section.
        """
        why = ""
        for tried in (section, blocked.BLOCKED):
            done = await self._nft("-c", "-f", "-", stdin=script.render((tried,)))
            if done.status == 0:
                return why
            why = why or done.message
        raise FirewallError(f"nft cannot check table {TABLE}: {why}")

    async def change(self, script: str) -> None:
        """Apply commands in one transaction.

        Raises ``FirewallError``: ``TableChangedError`` if something that the commands name is not there, and
        ``FirewallSlowError``.
        """
        async with self._writing:
            done = await self._nft("-f", "-", stdin=script)
        if done.status != 0:
            kind = TableChangedError if _ABSENT in done.stderr else FirewallError
            raise kind(f"nft refuses a change of table {TABLE}: {done.message}")

    def _still_blocked(self) -> dict[UdpEndpoint, int]:
        now = time.monotonic()
        self._blocked = {endpoint: until for endpoint, until in self._blocked.items() if now < until}
        return {endpoint: math.ceil(until - now) for endpoint, until in self._blocked.items()}

    async def remove(self) -> None:
        """Delete the agent's table if it exists. Raises ``FirewallError``."""
        done = await self._nft("delete", "table", *TABLE.split())
        if done.status != 0 and _ABSENT not in done.stderr:
            raise FirewallError(f"nft cannot delete table {TABLE}: {done.message}")

    async def block(self, endpoint: UdpEndpoint, span: timedelta) -> None:
        """Drop packets from an endpoint. Raises ``FirewallError``."""
        async with self._writing:
            done = await self._nft("-f", "-", stdin=_block({endpoint: int(span.total_seconds())}))
            if done.status == 0:
                self._blocked[endpoint] = time.monotonic() + span.total_seconds()
        if done.status != 0:
            raise FirewallError(f"nft cannot block packets from {endpoint[0]} port {endpoint[1]}: {done.message}")

    async def unblock(self, endpoint: UdpEndpoint) -> None:
        """Stop dropping packets from an endpoint, if they are dropped. Raises ``FirewallError``."""
        async with self._writing:
            self._blocked.pop(endpoint, None)
            done = await self._nft("-f", "-", stdin=blocked.unblock(endpoint, TABLE))
        if done.status != 0 and _ABSENT not in done.stderr:
            raise FirewallError(f"nft cannot unblock packets from {endpoint[0]} port {endpoint[1]}: {done.message}")

    async def _list(self, *words: str) -> str | None:
        # -n: without the operator's names for marks (/etc/iproute2/rt_marks).
        done = await self._nft("-j", "-n", *words)
        if done.status == 0:
            return done.stdout
        if _ABSENT in done.stderr:
            return None
        raise FirewallError(f"nft cannot list table {TABLE}: {done.message}")

    async def _nft(self, *words: str, stdin: str = "") -> Completed:
        try:
            return await run(("nft", *words), stdin=stdin, timeout=TIMEOUT, max_output=MAX_OUTPUT)
        except ProgramTimeoutError as error:
            raise FirewallSlowError(str(error)) from error
        except ProgramError as error:
            raise FirewallError(str(error)) from error


def _block(endpoints: Mapping[UdpEndpoint, int]) -> str:
    return script.add(blocked.elements(endpoints), blocked.BLOCKED.sets)


def _unless_failed(found: Mapping[str, Count] | BaseException) -> Mapping[str, Count]:
    if isinstance(found, BaseException):
        raise found
    return found
