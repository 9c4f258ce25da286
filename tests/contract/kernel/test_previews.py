"""What ``plan`` says of nftables and iptables: nothing of rules that are in place, and exactly what differs."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from contract.kernel.firewalls import choose, each_variant
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.iptables.program import Iptables
from dmvpn_agent.kernel.iptables.read_preview import ChainPreview
from dmvpn_agent.kernel.iptables.read_preview import read_preview as read_chains
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.read_preview import read_preview as read_table
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

RULE = RedirectRule(("gre1", "gre2"), 1, 24, 16, rate_per_minute=4, burst=1)
MULTICAST = MulticastRule(("gre1", "gre2"), 2)
TABLE = TableSettings(
    ("gre1", "gre2"), RULE, SourceFilter(FilterMode.ENFORCE, 0xFFFF0000), clamps_mss=True, multicast=MULTICAST
)
PEERS = (
    Peer(
        ip_address("10.255.0.12"), ip_address("203.0.113.2"), "gre1", 65002,
        (ip_network("192.168.2.0/24"), ip_network("2001:db8:2::/48")), "", "", None,
    ),
)  # fmt: skip
CHAIN = ChainSettings(RULE, MULTICAST)

pytestmark = pytest.mark.contract


@needs("nft")
@in_network_namespace
async def test_a_table_in_place_has_no_differences() -> None:
    """Also when its rules were replaced, which leaves its objects in another order."""
    keeper = TableReconciler(replace(TABLE, multicast=None), lambda: PEERS, Nftables(), Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed)
        assert not (await read_table(keeper.settings, PEERS)).different
        keeper.reload(TABLE)
        await until(lambda: keeper.in_force == TABLE)
        found = await read_table(TABLE, PEERS)
    assert (found.rules, found.added, found.removed, found.uncompared, found.missing) == ((), 0, 0, None, ())


@needs("nft")
@in_network_namespace
async def test_what_differs_in_the_table_is_a_diff() -> None:
    """In nft's words, with what the operator's change did and what the configuration would."""
    missing = await read_table(TABLE, PEERS)
    assert missing.different
    assert not missing.there
    keeper = TableReconciler(TABLE, lambda: PEERS, Nftables(), Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed)
    command("nft", "add", "rule", "inet", "dmvpn_agent", "forward", "counter", "accept")
    wanted = replace(TABLE, redirect=None, multicast=MulticastRule(("gre1", "gre2"), 9))
    found = await read_table(replace(wanted, redirect=RULE), ())
    assert [line for line in found.rules if line.startswith(("+", "-"))] == [
        '-\tcounter name "multicast" log group 2 queue-threshold 1',
        '+\tcounter name "multicast" log group 9 queue-threshold 1',
        "-\tcounter accept",
    ]
    assert found.removed
    assert not found.added
    assert any(line.startswith("-chain forward {") for line in (await read_table(wanted, PEERS)).rules)


@each_variant
@in_network_namespace
async def test_chains_are_compared(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, in place, edited, with another configuration, and no longer wanted."""
    choose(variant, tmp_path, monkeypatch)
    assert (await read_chains(CHAIN)).changes[0] == " iptables:"
    keeper = ChainReconciler(CHAIN, Iptables(), Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed)
    assert await read_chains(CHAIN) == ChainPreview()
    command("iptables", "-t", "security", "-D", "OUTPUT", "-j", "dmvpn_agent")
    assert [line for line in (await read_chains(CHAIN)).changes if line[0] in "+-"] == ["+-A OUTPUT -j dmvpn_agent"]
    only = (await read_chains(replace(CHAIN, multicast=None))).changes
    assert "--A dmvpn_agent -d 224.0.0.0/24 -o gre1 -j DROP" in only
    assert "--A FORWARD -j dmvpn_agent" in (await read_chains(ChainSettings())).changes


async def test_what_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without iptables is no reason to fail, unless it shall have the rules."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert await read_chains(ChainSettings()) == ChainPreview()
    assert "iptables-save cannot be started" in ((await read_chains(CHAIN)).trouble or "")
