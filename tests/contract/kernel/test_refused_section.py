"""A section that nft refuses is left out; the others work. The real nft, with words that it claims not to know."""

import pytest
from structlog.testing import capture_logs

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables import reconciler
from dmvpn_agent.kernel.nftables.gauges import observe_table
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.refused import NEEDS
from dmvpn_agent.kernel.nftables.section import SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.groups import Group, GroupRule, Groups
from dmvpn_agent.runtime.program import Completed
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

ALL = TableSettings(
    ("gre1",),
    RedirectRule(("gre1",), 1, 24, 24, 4, 1),
    SourceFilter(FilterMode.ENFORCE, 0xFFFF0000),
    Groups((Group("branches"),), (GroupRule(("branches", "branches"), False),)),
    clamps_mss=True,
    multicast=MulticastRule(("gre1",), 2),
)
#: A word of each section that no other one has, and a chain of it.
WORDS = {
    SectionName.REDIRECT: ("limit rate", "chain forward"),
    SectionName.SOURCE_FILTER: ("fib saddr", "chain source_filter"),
    SectionName.GROUPS: ("group4_branches", "chain groups"),
    SectionName.MULTICAST: ("udp checksum", "chain multicast"),
    SectionName.MSS: ("maxseg", "chain clamp_mss"),
}


class _Older(Nftables):
    """nft on a kernel that lacks a module."""

    def __init__(self, lacks: str) -> None:
        super().__init__()
        self.lacks = lacks

    async def _nft(self, *words: str, stdin: str = "") -> Completed:
        if self.lacks and self.lacks in stdin:
            return Completed(1, "", "Error: Could not process rule: Operation not supported")
        return await super()._nft(*words, stdin=stdin)


def _shown() -> str:
    return command("nft", "list", "table", "inet", "dmvpn_agent")


@pytest.mark.parametrize("section", list(WORDS))
@in_network_namespace
async def test_the_rest_of_the_table_is_written(section: SectionName, monkeypatch: pytest.MonkeyPatch) -> None:
    """The section is named with what it needs; it is written as soon as nft does not refuse it any more."""
    monkeypatch.setattr(reconciler, "CHECK_INTERVAL", 0.2)
    word, chain = WORDS[section]
    telemetry, firewall = Telemetry(), _Older(word)
    table = TableReconciler(ALL, lambda: (), firewall, telemetry)
    observe_table(telemetry, table)
    with capture_logs() as logs:
        async with running(NftablesNotifications(table.table_changed).run()), running(table.run()):
            await until(lambda: table.installed)
            assert [name for name, (_, other) in WORDS.items() if f"{other} {{" not in _shown()] == [section]
            assert (table.has(section), table.has(SectionName.BLOCKED)) == (False, True)
            assert telemetry.value(metrics.NFTABLES_INSTALLED) == 0
            filters = section is not SectionName.SOURCE_FILTER
            assert telemetry.samples(metrics.SOURCE_FILTER)["enforce",] == filters
            await until(lambda: table._is_current)
            (refused,) = [one for one in logs if one["event"] == "nftables_section_refused"]
            assert (refused["section"], refused["consequence"]) == (str(section), NEEDS[section][1])
            assert NEEDS[section][0] in refused["do"]
            firewall.lacks = ""
            await until(lambda: f"{chain} {{" in _shown() and table.has(section))
            assert telemetry.value(metrics.NFTABLES_INSTALLED) == 1
    assert telemetry.value(metrics.NFTABLES_FAILURES) == 0


@in_network_namespace
async def test_a_section_that_works_is_not_given_up() -> None:
    """An enforcing filter stays as it was written, and the failure is reported."""
    telemetry, firewall = Telemetry(), _Older("")
    table = TableReconciler(ALL, lambda: (), firewall, telemetry)
    async with running(table.run()):
        await until(lambda: table.installed)
        before, firewall.lacks = _shown(), "fib saddr"
        table.reload(TableSettings(("gre1",), source_filter=SourceFilter(FilterMode.COUNT, 0xFFFF0000)))
        await until(lambda: telemetry.value(metrics.NFTABLES_FAILURES) > 0)
        assert _shown() == before
        assert not table.refused.why


@in_network_namespace
async def test_another_setting_is_tried_at_once() -> None:
    """As after the operator has turned the section off."""
    firewall = _Older("maxseg")
    table = TableReconciler(ALL, lambda: (), firewall, Telemetry())
    async with running(table.run()):
        await until(lambda: table.refused.why and table.installed)
        table.reload(TableSettings(("gre1",), ALL.redirect))
        await until(lambda: table.in_force == table.settings)
        assert not table.refused.why


@in_network_namespace
async def test_where_nft_refuses_everything_nothing_is_left_out() -> None:
    """The failure is that of the whole table."""
    telemetry = Telemetry()
    table = TableReconciler(ALL, lambda: (), _Older("table inet"), telemetry)
    async with running(table.run()):
        await until(lambda: telemetry.value(metrics.NFTABLES_FAILURES) > 0)
        assert not table.refused.why
