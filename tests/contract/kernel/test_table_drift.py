"""The table is read before it is written: what another program did to it is mended by one write."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.nftables import reconciler
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

SETTINGS = TableSettings(
    ("gre1",), RedirectRule(("gre1",), 1, 24, 24, 4, 1), SourceFilter(FilterMode.ENFORCE, 0xFFFF0000)
)
FIRST = Peer(
    ip_address("10.255.0.11"), ip_address("203.0.113.1"), "gre1", None, (ip_network("10.1.0.0/24"),), "", "", None,
    identity="1",
)  # fmt: skip
SECOND = replace(FIRST, protocol_address=ip_address("10.255.0.12"), nbma_address=ip_address("203.0.113.2"),
                 prefixes=(ip_network("10.2.0.0/24"),), identity="2")  # fmt: skip


class _Counted(Nftables):
    """``done``: what the agent's runs of nft did, ``read`` or ``write``."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    async def _list(self, *words: str) -> str | None:
        if words[0] == "-t":
            self.done.append("read")
        return await super()._list(*words)

    async def install(self, sections: tuple[object, ...]) -> None:
        self.done.append("write")
        await super().install(sections)  # type: ignore[arg-type]

    async def change(self, script: str) -> None:
        self.done.append("write")
        await super().change(script)


class _Kept:
    """A table that an agent keeps, whose peers a test may change."""

    def __init__(self) -> None:
        self.peers: tuple[Peer, ...] = (FIRST,)
        self.firewall = _Counted()
        self.table = TableReconciler(SETTINGS, lambda: self.peers, self.firewall, Telemetry())

    async def at_rest(self) -> None:
        """Wait until the agent knows by the kernel's notifications that the table is as it was read."""
        await until(lambda: self.table._is_current and self.table.installed)
        self.firewall.done.clear()


@asynccontextmanager
async def _kept() -> AsyncIterator[_Kept]:
    kept = _Kept()
    async with running(NftablesNotifications(kept.table.table_changed).run()), running(kept.table.run()):
        await kept.at_rest()
        yield kept


def _shown() -> list[str]:
    """The words of the table, because nft lists elements in the order in which they were added."""
    return sorted(re.split(r"[\s,]+", command("nft", "-s", "list", "table", "inet", "dmvpn_agent")))


@pytest.mark.parametrize("joins", [False, True], ids=["", "while a peer joins"])
@pytest.mark.parametrize(
    "harm",
    [
        "delete element inet dmvpn_agent sources4_gre1 { 0x10000 . 10.1.0.0/24 }",
        "add element inet dmvpn_agent sources4_gre1 { 0x10000 . 10.9.0.0/24 }",
        "flush map inet dmvpn_agent nbma4",
        "insert rule inet dmvpn_agent source_filter accept",
        "flush chain inet dmvpn_agent spoofed",
        "add chain inet dmvpn_agent foreign",
    ],
)
@in_network_namespace
async def test_what_was_edited_is_mended_by_one_write(
    harm: str, joins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's notification brings it about: no check at intervals comes."""
    monkeypatch.setattr(reconciler, "CHECK_INTERVAL", 3600.0)
    async with _kept() as kept:
        good = _shown()
        if joins:
            kept.peers = (FIRST, SECOND)
            kept.table.peers_changed()
            await until(lambda: "10.2.0.0/24" in _shown())
            await kept.at_rest()
            good, kept.peers = _shown(), (FIRST,)
            kept.table.peers_changed()
            await until(lambda: "10.2.0.0/24" not in _shown())
            await kept.at_rest()
            kept.peers = (FIRST, SECOND)
        command("nft", harm)
        kept.table.peers_changed()
        await until(lambda: _shown() == good and kept.table._is_current)
        # A peer that joins may be written before the notification of the other change has come.
        assert kept.firewall.done.count("write") <= 1 + joins
        assert kept.firewall.done[0] == "read" or joins


@pytest.mark.parametrize("harm", ["flush ruleset", "delete chain inet dmvpn_agent source_filter"])
@in_network_namespace
async def test_a_missing_section_is_written_once(harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one transaction, and the rules that drop in the next one."""
    monkeypatch.setattr(reconciler, "CHECK_INTERVAL", 3600.0)
    async with _kept() as kept:
        good = _shown()
        command("nft", harm)
        await until(lambda: kept.firewall.done.count("write") == 2 and kept.table._is_current)
        assert kept.firewall.done[:4] == ["read", "write", "write", "read"]
        assert _shown() == good


@in_network_namespace
async def test_a_peer_is_written_at_once_if_nothing_else_changed_the_table() -> None:
    """Reading a thousand peers takes longer than writing one; what nft has then is read back."""
    async with _kept() as kept:
        kept.peers = (FIRST, SECOND)
        kept.table.peers_changed()
        await until(lambda: "read" in kept.firewall.done)
        assert kept.firewall.done[:2] == ["write", "read"]
        await kept.at_rest()
        kept.table.peers_changed()  # with the same peers
        await asyncio.sleep(0)
        assert kept.firewall.done == []


@in_network_namespace
async def test_without_notifications_every_check_reads_first() -> None:
    """As where the agent may not listen to the kernel."""
    kept = _Kept()
    async with running(kept.table.run()):
        await until(lambda: kept.table.installed)
        for peers in ((FIRST, SECOND), (FIRST,)):
            kept.firewall.done.clear()
            kept.peers = peers
            kept.table.peers_changed()
            await until(lambda: kept.firewall.done == ["read", "write", "read"])
