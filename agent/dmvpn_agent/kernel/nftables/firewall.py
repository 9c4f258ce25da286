"""The port to nftables."""

from typing import Protocol

from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.shown_table import ShownTable


class FirewallError(Exception):
    """nft cannot be run or refused something; the text has its message."""


class TableChangedError(FirewallError):
    """The table, or a set in it, went away since it was read: it must be read again."""


class FirewallSlowError(FirewallError):
    """nft was killed because it took too long; the change may have been applied."""


class Firewall(Protocol):
    """The agent's nftables table on this node."""

    async def show(self) -> ShownTable | None:
        """Return the agent's table, ``None`` if there is none.

        Raises ``FirewallError``, or ``TableChangedError`` if the table goes away while it is read.
        """

    async def install(self, sections: tuple[Section, ...]) -> None:
        """Replace the agent's table in one transaction. Raises ``FirewallError``."""

    async def change(self, script: str) -> None:
        """Apply commands in one transaction.

        Raises ``FirewallError``: ``TableChangedError`` if something that the commands name is not there, and
        ``FirewallSlowError``.
        """

    async def refusal(self, section: Section) -> str:
        """Return why nft or the kernel refuses a section; empty if it does not. Nothing is changed.

        Raises ``FirewallError`` if nft cannot be run, or refuses any section.
        """

    async def remove(self) -> None:
        """Delete the agent's table if it exists. Raises ``FirewallError``."""
