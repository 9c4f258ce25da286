"""bgpd and nhrpd of this node: reading configuration and state, writing changes, by their command lines.

bgpd itself keeps the prefix-lists that it filters with, in FRR 8.4 through 10.7; mgmtd, from 10.0 on, keeps them only
for zebra and the daemons it manages. So bgpd is all that is read and written.
"""

import asyncio
from collections.abc import Sequence

from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.running_config import parse_running_config, require_complete
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bgp.vtysh_lines import END_TRANSACTION, START_TRANSACTION, render
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.frr.terminal import Reply, Terminal, TerminalError
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

#: Keeps vtysh's argument list well under the kernel's limit of 2 MiB.
MAX_BATCH = 500


#: Ends a transaction that somebody left open: bgpd waits for its end for ten minutes, and starts no new neighbor.
CLOSE_TRANSACTION = ("configure terminal", START_TRANSACTION, END_TRANSACTION, "end")


class FrrBgpd:
    """bgpd's configuration and sessions; writes in the BGP instance ``as_number``."""

    def __init__(
        self, reader: Terminal, writer: Terminal, as_number: int, telemetry: Telemetry | None = None
    ) -> None:
        self._unreadable = Unreadable(telemetry or Telemetry())
        self._reader = reader
        self._writer = writer
        self._as_number = as_number
        self._transaction_open = True  # for all that is known: whoever wrote before may have died in one

    async def observe(self) -> Snapshot:
        """Read configuration and sessions. Raises ``FrrUnavailable``."""
        # The sessions come second: vtysh may print half a configuration where bgpd was killed, and then fails here.
        config = await _run(self._reader, ("show running-config",))
        summary = await _run(self._reader, ("show bgp ipv4 unicast summary json",))
        if config.status != 0:
            raise FrrUnavailable(f"bgpd gave no configuration: {config.last_output()}")
        try:
            return await asyncio.to_thread(self._read, config, summary)  # a thousand neighbors take 0.1 s
        except FrrFormatError as error:
            raise FrrUnavailable(
                f"unexpected output of bgpd: {error}; it ended in: {config.last_output()}"
            ) from error

    def _read(self, config: Reply, summary: Reply) -> Snapshot:
        require_complete(config.text, framed=config.framed)
        return Snapshot(
            parse_running_config(config.text), parse_bgp_summary(summary.text or "{}", self._skip_session)
        )

    def _skip_session(self, why: str) -> None:
        self._unreadable.skip(ItemSource.BGP_SESSION, why, why)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in their order. Raises ``FrrRefused`` at the first refused, ``FrrUnavailable``."""
        if self._transaction_open:
            await self._write(CLOSE_TRANSACTION)
        for start in range(0, len(changes), MAX_BATCH):
            await self._write(render(changes[start : start + MAX_BATCH], self._as_number, grouped=True))

    async def _write(self, lines: Sequence[str]) -> None:
        transaction = START_TRANSACTION in lines
        self._transaction_open |= transaction
        reply = await _run(self._writer, lines)
        if reply.status != 0 or any(line.startswith("%") for line in reply.text.splitlines()):
            raise FrrRefused(reply.last_output())
        if transaction:
            self._transaction_open = False


async def _run(terminal: Terminal, lines: Sequence[str]) -> Reply:
    try:
        return await terminal.run("bgpd", lines)
    except TerminalError as error:
        raise FrrUnavailable(str(error)) from error
