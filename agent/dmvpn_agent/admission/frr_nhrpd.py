"""nhrpd's cache of this node, read by FRR's command line."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.admission.bindings import NhrpdUnavailable
from dmvpn_agent.frr.nhrp_cache import (
    CACHE_COMMANDS,
    SHORTCUT_COMMANDS,
    CacheEntry,
    Shortcut,
    parse_nhrp_cache,
    parse_shortcuts,
)
from dmvpn_agent.frr.show_json import FrrFormatError
from dmvpn_agent.frr.terminal import Terminal, TerminalError
from dmvpn_agent.policy.authentication_rules import PEER_BINDINGS
from dmvpn_agent.policy.request import BindingRequest, BindingType

#: Stands for the NBMA address of a binding that has none yet: no peer has an IKE_SA with it.
_NOWHERE = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the cache, all of whose rows could be read; ``digest``: of the text."""

    digest: bytes
    bindings: tuple[BindingRequest, ...]


class FrrNhrpd:
    """nhrpd's cache on the tunnel interfaces.

    ``entries``: how many there are by type, of each IP version, as last read.
    """

    def __init__(self, reader: Terminal, interfaces: Collection[str]) -> None:
        self._reader = reader
        self._interfaces = interfaces
        self._shortcuts: dict[int, tuple[Shortcut, ...]] = {}
        self._tables: dict[int, _Table] = {}
        self.entries: dict[int, Counter[str]] = {}

    def shortcuts(self) -> Mapping[Address, tuple[Network, ...]]:
        """Return the networks that are reached by a shortcut, by the protocol address of the peer they lead to."""
        found: dict[Address, tuple[Network, ...]] = {}
        for shortcut in (one for table in tuple(self._shortcuts.values()) for one in table):
            if shortcut.via is not None:
                found[shortcut.via] = (*found.get(shortcut.via, ()), shortcut.prefix)
        return found

    async def bindings(self, version: int, skip: Callable[[str], None]) -> tuple[BindingRequest, ...]:
        """Return the bindings in its table of one IP version, as requests without certificates.

        ``skip`` is called with the reason for each row that cannot be read. A table that shows what it showed at the
        last call gives the same tuple.

        Raises ``NhrpdUnavailable``.
        """
        # An empty table gives status 1, so only the output tells.
        skipped: list[str] = []
        try:
            cache = await self._reader.run("nhrpd", (CACHE_COMMANDS[version],))
            digest = sha256(cache.text.encode()).digest()
            table = self._tables.get(version)
            if table is None or table.digest != digest:
                entries = await asyncio.to_thread(parse_nhrp_cache, cache.text, skipped.append, version)
                table = _Table(digest, self._bindings(entries, version))
        except TerminalError as error:
            raise NhrpdUnavailable(str(error)) from error
        except FrrFormatError as error:
            raise NhrpdUnavailable(f"{error}; FRR said: {cache.last_output()}") from error
        self._tables[version] = table
        if skipped:  # the next call has to report them again
            del self._tables[version]
        for why in skipped:
            skip(why)
        self._shortcuts[version] = await self._read_shortcuts(version)
        return table.bindings

    def _bindings(self, entries: Iterable[CacheEntry], version: int) -> tuple[BindingRequest, ...]:
        ours = [entry for entry in entries if entry.interface in self._interfaces]
        self.entries[version] = Counter(entry.binding_type for entry in ours)
        own = frozenset(entry.protocol_address for entry in ours if entry.binding_type == BindingType.LOCAL)
        return tuple(_binding(entry, own) for entry in ours if entry.binding_type in PEER_BINDINGS)

    async def _read_shortcuts(self, version: int) -> tuple[Shortcut, ...]:
        """Return none if they cannot be read: nothing depends on them, and the cache's next read says why."""
        try:
            shown = await self._reader.run("nhrpd", (SHORTCUT_COMMANDS[version],))
            return parse_shortcuts(shown.text, version)
        except (TerminalError, FrrFormatError):
            return ()


def _binding(entry: CacheEntry, own: frozenset[Address]) -> BindingRequest:
    return BindingRequest(
        interface=entry.interface,
        binding_type=BindingType(entry.binding_type),
        protocol_address=entry.protocol_address,
        nbma_address=entry.nbma_address or _NOWHERE,
        certificate=None,
        local_addresses=own,
    )
