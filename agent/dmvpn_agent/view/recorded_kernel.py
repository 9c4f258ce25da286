"""Writes into the history what the agent changed in the kernel besides nftables.

The ports are wrapped as in ``recorded``: an entry is written after the change was made.
"""

from collections.abc import Collection

from dmvpn_agent.kernel.iptables.program import PROGRAMS, Iptables
from dmvpn_agent.kernel.links.changes import LinkChange, commands
from dmvpn_agent.kernel.links.kernel_links import KernelLinks
from dmvpn_agent.kernel.routes.netlink_entries import NetlinkEntries
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.stale_entries import Entry
from dmvpn_agent.kernel.routes.tables import Change
from dmvpn_agent.kernel.xfrm import KernelSa
from dmvpn_agent.kernel.xfrm_socket import XfrmSocket
from dmvpn_agent.view.history import EntryKind
from dmvpn_agent.view.recorded import MAX_NAMED, HistoryWriter


class RecordedLinks(KernelLinks):
    """The tunnel interfaces, whose changes are written into the history."""

    def __init__(self, writer: HistoryWriter) -> None:
        super().__init__()
        self._writer = writer

    async def apply(self, change: LinkChange) -> None:
        """Make one change. Raises ``LinkError``."""
        await super().apply(change)
        self._writer.changed(EntryKind.KERNEL, "link", "; ".join(commands(change)))


class RecordedIptables(Iptables):
    """iptables, whose changes are written into the history."""

    def __init__(self, writer: HistoryWriter) -> None:
        super().__init__()
        self._writer = writer

    async def apply(self, version: int, script: str) -> None:
        """Apply commands in one transaction. Raises ``IptablesError``."""
        await super().apply(version, script)
        self._writer.changed(EntryKind.KERNEL, PROGRAMS[version], "; ".join(script.splitlines()[:MAX_NAMED])[:500])


class RecordedTables(NetlinkTables):
    """The agent's routes and rules, whose changes are written into the history."""

    def __init__(self, writer: HistoryWriter) -> None:
        super().__init__()
        self._writer = writer

    async def apply(self, changes: tuple[Change, ...]) -> None:
        """Make the changes in order, up to the first that is refused. Raises ``RoutesError``."""
        await super().apply(changes)
        more = f"; {len(changes) - MAX_NAMED} more" if len(changes) > MAX_NAMED else ""
        self._writer.changed(EntryKind.KERNEL, "routes", "; ".join(map(str, changes[:MAX_NAMED])) + more)


class RecordedEntries(NetlinkEntries):
    """nhrpd's entries in the kernel: those that the agent removed are written into the history."""

    def __init__(self, writer: HistoryWriter, interfaces: Collection[str]) -> None:
        super().__init__(interfaces)
        self._writer = writer

    async def delete(self, entry: Entry) -> None:
        """Delete one; it may be gone already. Raises ``RoutesError``."""
        await super().delete(entry)
        text = f"remove nhrpd's {entry.kind} {entry.address} on {entry.interface}"
        self._writer.changed(EntryKind.KERNEL, "stale", text, str(entry.address))


class RecordedXfrm(XfrmSocket):
    """The kernel's IPsec SAs: those that the agent deleted are written into the history."""

    def __init__(self, writer: HistoryWriter) -> None:
        super().__init__()
        self._writer = writer

    def delete(self, sa: KernelSa) -> None:
        """Delete one; it may be gone already. Raises ``XfrmError``."""
        super().delete(sa)
        text = f"delete the SA {sa.spi} from {sa.source} to {sa.destination}, which charon does not know"
        self._writer.changed(EntryKind.KERNEL, "stale", text)
