"""bgpd and nhrpd of this node: reading configuration and state, writing changes, by their command lines.

bgpd itself keeps the prefix-lists that it filters with, in FRR 8.4 through 10.7; mgmtd, from 10.0 on, keeps them only
for zebra and the daemons it manages. So bgpd is all that is read and written.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address

from dmvpn_agent.adapters.terminal import Either, Reply, Terminal, TerminalError
from dmvpn_agent.adapters.vty import VtySockets
from dmvpn_agent.adapters.vtysh import Vtysh
from dmvpn_agent.config import Frr
from dmvpn_agent.core.model import Address, BindingRequest, BindingType
from dmvpn_agent.core.plan import Change
from dmvpn_agent.core.standing import PEER_BINDINGS
from dmvpn_agent.service.bgpd import FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.service.bindings import NhrpdUnavailable
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.service.unreadable import ItemSource, Unreadable
from dmvpn_agent.wire.frr import (
    CACHE_COMMANDS,
    END_TRANSACTION,
    START_TRANSACTION,
    CacheEntry,
    FrrFormatError,
    parse_bgp_summary,
    parse_nhrp_cache,
    parse_running_config,
    render,
    require_whole,
)

#: The NBMA address of a binding that has none yet: nobody has an IKE_SA with it.
_NOWHERE = IPv4Address(0)
#: Keeps vtysh's argument list well under the kernel's limit of 2 MiB.
MAX_BATCH = 500
#: Ends a transaction that somebody left open: bgpd waits for its end for ten minutes, and starts no new neighbor.
CLOSE_TRANSACTION = ("configure terminal", START_TRANSACTION, END_TRANSACTION, "end")


class Terminals:
    """The ways to FRR that the configuration names: by the vty sockets where they are open, or by vtysh."""

    def __init__(self, frr: Frr) -> None:
        vtysh, sockets = Vtysh(frr.vtysh), VtySockets(frr.vty_directory)
        self.reader = Either(sockets, vtysh)
        self.writer: Terminal = sockets if frr.bgp_transport == sockets.name else vtysh


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
            raise FrrUnavailable(f"bgpd gave no configuration: {config.words()}")
        try:
            return await asyncio.to_thread(self._read, config, summary)  # a thousand neighbors take 0.1 s
        except FrrFormatError as error:
            raise FrrUnavailable(f"bgpd's answer is not as known: {error}; it ended in: {config.words()}") from error

    def _read(self, config: Reply, summary: Reply) -> Snapshot:
        require_whole(config.text, framed=config.framed)
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
            raise FrrRefused(reply.words())
        if transaction:
            self._transaction_open = False


async def _run(terminal: Terminal, lines: Sequence[str]) -> Reply:
    try:
        return await terminal.run("bgpd", lines)
    except TerminalError as error:
        raise FrrUnavailable(str(error)) from error


class FrrNhrpd:
    """nhrpd's cache on the tunnel interfaces."""

    def __init__(self, reader: Terminal, interfaces: Collection[str]) -> None:
        self._reader = reader
        self._interfaces = interfaces

    async def bindings(self, version: int, skip: Callable[[str], None]) -> tuple[BindingRequest, ...]:
        """Return the peers in its table of one IP version, as it would ask about them.

        ``skip`` is called with the reason for each row that cannot be read.

        Raises ``NhrpdUnavailable``.
        """
        # An empty table gives status 1, so only the output tells.
        try:
            cache = await self._reader.run("nhrpd", (CACHE_COMMANDS[version],))
            entries = await asyncio.to_thread(parse_nhrp_cache, cache.text, skip, version)
        except TerminalError as error:
            raise NhrpdUnavailable(str(error)) from error
        except FrrFormatError as error:
            raise NhrpdUnavailable(f"{error}; FRR said: {cache.words()}") from error
        ours = [entry for entry in entries if entry.interface in self._interfaces]
        own = frozenset(entry.protocol_address for entry in ours if entry.binding_type == BindingType.LOCAL)
        return tuple(_binding(entry, own) for entry in ours if entry.binding_type in PEER_BINDINGS)


def _binding(entry: CacheEntry, own: frozenset[Address]) -> BindingRequest:
    return BindingRequest(
        interface=entry.interface,
        binding_type=BindingType(entry.binding_type),
        protocol_address=entry.protocol_address,
        nbma_address=entry.nbma_address or _NOWHERE,
        certificate=None,
        local_addresses=own,
    )
