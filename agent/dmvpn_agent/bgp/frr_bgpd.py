"""bgpd of this node by its command line: reads configuration and sessions, writes changes.

In FRR 8.4 to 10.7 bgpd keeps the prefix-lists that it filters with. From 10.0 on mgmtd has prefix-lists too, but only
for zebra and the daemons that it manages. So the agent reads and writes bgpd alone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from hashlib import sha256

from dmvpn_agent.addresses import IP_VERSIONS
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.bgp.filter_hits import MAX_LISTS, hits_command, parse_filter_hits
from dmvpn_agent.bgp.neighbors import Observed, list_name
from dmvpn_agent.bgp.operator_bgp import IPV6
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.running_config import parse_running_config, require_complete
from dmvpn_agent.bgp.sessions import ESTABLISHED, Session, parse_bgp_summary, with_ipv6
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import END_TRANSACTION, START_TRANSACTION, render
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.frr.terminal import Reply, Terminal, TerminalError
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

#: Changes in one run of vtysh: its argument list stays far below the kernel's limit of 2 MiB.
MAX_BATCH = 500


#: Ends a transaction that a crashed writer left open: for ten minutes bgpd would start no new neighbor.
CLOSE_TRANSACTION = ("configure terminal", START_TRANSACTION, END_TRANSACTION, "end")


class FrrBgpd:
    """bgpd's configuration and sessions of one BGP instance."""

    def __init__(
        self, reader: Terminal, writer: Terminal, instance: Instance, telemetry: Telemetry | None = None
    ) -> None:
        self._unreadable = Unreadable(telemetry or Telemetry())
        self._reader = reader
        self._writer = writer
        self._instance = instance
        self._parsed: tuple[bytes, Observed] | None = None
        self._transaction_open = True  # unknown at first: an earlier writer may have crashed in one

    async def observe(self) -> Snapshot:
        """Read configuration and sessions. Raises ``FrrUnavailable``."""
        # In this order: if bgpd is killed while vtysh prints half a configuration, reading the sessions fails.
        config = await _run(self._reader, ("show running-config",))
        summaries = [await self._summary("ipv4")]
        if IPV6 in config.text:
            summaries.append(await self._summary("ipv6"))
        if config.status != 0:
            raise FrrUnavailable(f"bgpd printed no configuration: {config.last_output()}")
        try:
            snapshot = await asyncio.to_thread(self._read, config, summaries)  # 0.1 s for a thousand neighbors
        except FrrFormatError as error:
            raise FrrUnavailable(f"unexpected output of bgpd: {error}; it ends in: {config.last_output()}") from error
        return await self._with_filter_hits(snapshot)

    async def _with_filter_hits(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot that tells what the filters of silent neighbors refused. Raises ``FrrUnavailable``."""
        silent = [
            address
            for address, session in snapshot.own_sessions()
            if session.state == ESTABLISHED
            and not session.prefixes
            and not session.prefixes_ipv6
            and address.version == 4
        ][:MAX_LISTS]
        if not silent:
            return snapshot
        shown = await _run(
            self._reader,
            [
                hits_command(address, version)
                for address in silent
                for version in _families(snapshot.sessions[address])
            ],
        )
        hits = parse_filter_hits(shown.text, self._skip_session)
        sessions = dict(snapshot.sessions)
        for address in silent:
            found = [hits.get(list_name(address, version)) for version in _families(sessions[address])]
            counted = [count for count in found if count is not None]
            sessions[address] = replace(sessions[address], filtered=sum(counted) if counted else None)
        return replace(snapshot, sessions=sessions)

    async def _summary(self, family: str) -> Reply:
        return await _run(self._reader, (f"show bgp {self._instance.in_show}{family} unicast summary json",))

    def _read(self, config: Reply, summaries: Sequence[Reply]) -> Snapshot:
        require_complete(config.text, framed=config.framed)
        ipv4, *others = (parse_bgp_summary(summary.text or "{}", self._skip_session) for summary in summaries)
        return Snapshot(self._configured(config.text), reduce(with_ipv6, others, ipv4))

    def _configured(self, text: str) -> Observed:
        """Parse a configuration, unless it is the last one again, of which only a hash is kept."""
        digest = sha256(text.encode()).digest()
        if self._parsed is None or self._parsed[0] != digest:
            self._parsed = digest, parse_running_config(text, self._instance.vrf)
        return self._parsed[1]

    def _skip_session(self, why: str) -> None:
        self._unreadable.skip(ItemSource.BGP_SESSION, why, why)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in order, up to the first refused one. Raises ``FrrRefused``, ``FrrUnavailable``."""
        if self._transaction_open:
            await self._write(CLOSE_TRANSACTION)
        for start in range(0, len(changes), MAX_BATCH):
            await self._write(render(changes[start : start + MAX_BATCH], self._instance, grouped=True))

    async def _write(self, lines: Sequence[str]) -> None:
        transaction = START_TRANSACTION in lines
        self._transaction_open |= transaction
        reply = await _run(self._writer, lines)
        if reply.status != 0 or any(line.startswith("%") for line in reply.text.splitlines()):
            raise FrrRefused(reply.last_output())
        if transaction:
            self._transaction_open = False


def _families(session: Session) -> tuple[int, ...]:
    return (4,) if session.prefixes_ipv6 is None else IP_VERSIONS


async def _run(terminal: Terminal, lines: Sequence[str]) -> Reply:
    try:
        return await terminal.run("bgpd", lines)
    except TerminalError as error:
        raise FrrUnavailable(str(error)) from error
