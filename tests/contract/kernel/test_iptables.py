"""The agent's chain in a real kernel, by the real iptables: written, repaired and removed, in both variants."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from contract.kernel.firewalls import choose, each_variant
from contract.namespaces import command, in_network_namespace
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.iptables.program import Iptables, IptablesError
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

RULE = RedirectRule(("gre1", "gre2"), 1, 24, 16, rate_per_minute=4, burst=1)
SETTINGS = ChainSettings(RULE)
OPERATORS = (
    ("-t", "security", "-A", "FORWARD", "-p", "tcp", "-j", "ACCEPT"),
    ("-A", "FORWARD", "-i", "eth0", "-j", "ACCEPT"),
    ("-P", "FORWARD", "DROP"),
)

pytestmark = [pytest.mark.contract, each_variant]


@pytest.fixture(autouse=True)
def _chosen(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(variant, tmp_path, monkeypatch)


@asynccontextmanager
async def _kept(
    settings: ChainSettings = SETTINGS, telemetry: Telemetry | None = None
) -> AsyncIterator[ChainReconciler]:
    keeper = ChainReconciler(settings, Iptables(), telemetry or Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed or not settings.keeps_chain)
        yield keeper


async def _checked_again(keeper: ChainReconciler) -> None:
    before = keeper._backoff._due
    keeper.trigger()
    await until(lambda: keeper._backoff._due > before)


def _rules(family: str = "iptables") -> str:
    """Return all rules, without what changes by itself."""
    shown = "".join(command(f"{family}-save", "-t", table) for table in ("security", "filter"))
    return "\n".join(line.partition("[")[0] for line in shown.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        replace(RULE, source_prefix_length=32, destination_prefix_length=1, burst=60000),
        replace(RULE, source_prefix_length_ipv6=128, destination_prefix_length_ipv6=1, rate_per_minute=1),
        replace(RULE, nflog_group=65535, rate_per_minute=60000, interfaces=("a.b-c_d",)),
        replace(RULE, rate_per_minute=1, burst=60000),
    ],
)
@in_network_namespace
async def test_iptables_accepts_every_rule_that_can_be_configured(rule: RedirectRule) -> None:
    """The extreme values of the configuration."""
    async with _kept(replace(SETTINGS, redirect=rule)):
        for family in ("iptables", "ip6tables"):
            for name in rule.interfaces:
                assert f"-A dmvpn_agent -i {name} -o {name} -m limit" in _rules(family)


@pytest.mark.parametrize(
    "harm",
    [
        ("-F",),
        ("-F", "dmvpn_agent"),
        ("-D", "FORWARD", "-j", "dmvpn_agent"),
        ("-A", "FORWARD", "-j", "dmvpn_agent"),
        ("-I", "dmvpn_agent", "-j", "ACCEPT"),
        ("-R", "dmvpn_agent", "1", "-j", "RETURN"),
    ],
    ids=" ".join,
)
@in_network_namespace
async def test_a_damaged_chain_is_written_again(harm: tuple[str, ...]) -> None:
    """Whatever another program did to it, and what was counted stays counted."""
    for words in OPERATORS:
        command("iptables", *words)
    telemetry = Telemetry()
    async with _kept(telemetry=telemetry) as keeper:
        good = _rules()
        command("iptables", "-t", "security", *harm)
        if harm == ("-F",):
            command("iptables", "-t", "security", *OPERATORS[0][2:])
        keeper.trigger()
        await until(lambda: telemetry.samples(metrics.IPTABLES_WRITES) == {("start",): 2, ("changed",): 1})
        assert _rules() == good


@in_network_namespace
async def test_a_missing_chain_is_written_again() -> None:
    """As when a firewall is restarted: all tables are flushed, and all chains deleted."""
    telemetry = Telemetry()
    async with _kept(telemetry=telemetry) as keeper:
        good = _rules("ip6tables")
        command("ip6tables", "-t", "security", "-F")
        command("ip6tables", "-t", "security", "-X")
        keeper.trigger()
        await until(lambda: telemetry.samples(metrics.IPTABLES_WRITES).get(("missing",)) == 1)
        assert _rules("ip6tables") == good


@in_network_namespace
async def test_an_unchanged_chain_is_not_written() -> None:
    """Nor when rules of the operator's come and go: the counters of ours would begin again."""
    telemetry = Telemetry()
    async with _kept(telemetry=telemetry) as keeper:
        for words in OPERATORS:
            command("iptables", *words)
            await _checked_again(keeper)
    assert sum(telemetry.samples(metrics.IPTABLES_WRITES).values()) == 2


@in_network_namespace
async def test_the_chain_goes_when_it_is_no_longer_configured() -> None:
    """Also by an agent that is started with nftables in place of iptables; the operator's rules stay."""
    for words in OPERATORS:
        command("iptables", *words)
    before = _rules()
    async with _kept() as keeper:
        keeper.reload(ChainSettings())
        await until(lambda: "dmvpn_agent" not in _rules())
        await until(lambda: not keeper.installed)
        keeper.reload(SETTINGS)
        await until(lambda: "dmvpn_agent" in _rules() and "dmvpn_agent" in _rules("ip6tables"))
    async with _kept(ChainSettings()):
        await until(lambda: "dmvpn_agent" not in _rules() + _rules("ip6tables"))
    assert _rules() == before


@in_network_namespace
async def test_settings_take_the_place_of_former_ones() -> None:
    """With limits of another name, because the kernel keeps those of a name as they were."""
    async with _kept() as keeper:
        keeper.reload(ChainSettings(replace(RULE, rate_per_minute=60, nflog_group=9)))
        await until(lambda: "--nflog-group 9" in _rules())
        assert "1/sec" in _rules()
        assert "--nflog-group 1" not in _rules()


@in_network_namespace
async def test_a_dry_run_writes_nothing() -> None:
    """It logs the commands, once."""
    before = _rules()
    keeper = ChainReconciler(SETTINGS, Iptables(), Telemetry(), dry_run=True)
    with capture_logs() as lines:
        async with running(keeper.run()):
            await until(lambda: len(lines) == 2)
    assert [line["event"] for line in lines] == ["would_write_iptables"] * 2
    assert "-I FORWARD -j dmvpn_agent" in lines[0]["commands"]
    assert _rules() == before


@in_network_namespace
async def test_a_refused_chain_is_reported_and_the_old_one_stays() -> None:
    """One transaction; the error has the message of iptables."""
    async with _kept():
        before = _rules()
        with pytest.raises(IptablesError, match="iptables-restore: "):
            await Iptables().apply(4, "*security\n-F dmvpn_agent\n-A dmvpn_agent -j NOSUCHTARGET\nCOMMIT\n")
        assert _rules() == before


@in_network_namespace
async def test_a_program_that_may_not_is_reported(variant: str, tmp_path: Path) -> None:
    """With what to do; it is no reason to end."""
    for name in ("iptables-save", "ip6tables-save"):
        (tmp_path / name).unlink()
        (tmp_path / name).write_text(
            f'#!/bin/sh\nexec setpriv --bounding-set -all --inh-caps -all {variant}-save "$@"\n'
        )
        (tmp_path / name).chmod(0o755)
    telemetry = Telemetry()
    keeper = ChainReconciler(SETTINGS, Iptables(), telemetry)
    with capture_logs() as lines:
        async with running(keeper.run()):
            await until(lambda: telemetry.samples(metrics.IPTABLES_FAILURES).get((), 0) >= 4)
    assert [line["event"] for line in lines] == ["iptables_failed"] * 2
    assert "CAP_NET_RAW" in lines[0]["do"]
    assert os.environ["PATH"].startswith(str(tmp_path))


@in_network_namespace
async def test_reset_finds_and_removes_the_chains() -> None:
    """Whatever is configured now; a second time there is nothing."""
    for words in OPERATORS:
        command("iptables", *words)
    before = _rules()
    iptables = Iptables()
    assert await iptables.leftovers() == {}
    async with _kept():
        pass
    found = await iptables.leftovers()
    assert list(found) == [4, 6]
    await iptables.remove(found)
    assert await iptables.leftovers() == {}
    assert _rules() == before


async def test_a_node_without_iptables_has_no_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no error of reset."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert await Iptables().leftovers() == {}
    with pytest.raises(IptablesError, match="iptables-save cannot be started"):
        await Iptables().show(4)
