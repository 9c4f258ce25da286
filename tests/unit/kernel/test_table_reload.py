"""A reload while the table is being written."""

from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.shown_table import ShownTable
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

BEFORE, AFTER = (RedirectRule((name,), 1, 24, 24, 4, 1) for name in ("gre1", "gre2"))


class _Firewall:
    """Shows the rule that it was given last. The first time, a reload comes meanwhile."""

    def __init__(self) -> None:
        self.table: TableReconciler
        self.sections: tuple[Section, ...] = ()

    async def show(self) -> ShownTable | None:
        content = {name: one.body for one in self.sections for name in one.objects}
        return ShownTable(content) if content else None

    async def install(self, sections: tuple[Section, ...]) -> None:
        if not self.sections:
            self.table.reload(TableSettings((), AFTER))
        self.sections = sections

    async def change(self, script: str) -> None:
        raise FirewallError("a set is declared in another way")

    async def refusal(self, section: Section) -> str:
        raise AssertionError

    async def remove(self) -> None:
        raise AssertionError


async def test_a_reload_while_the_old_rule_is_written_is_not_lost(telemetry: Telemetry) -> None:
    """The agent writes the new rule next."""
    firewall = _Firewall()
    firewall.table = TableReconciler(TableSettings((), BEFORE), tuple, firewall, telemetry)
    async with running(firewall.table.run()):
        await until(lambda: AFTER.section() in firewall.sections)


async def test_a_mode_is_in_force_only_when_it_is_written(telemetry: Telemetry) -> None:
    """Otherwise an operator would rely on a filter that nft does not have yet."""
    firewall = _Firewall()
    firewall.table = TableReconciler(TableSettings((), BEFORE), tuple, firewall, telemetry)
    async with running(firewall.table.run()):
        await until(lambda: firewall.table.in_force == TableSettings((), AFTER))
        firewall.table.settings = TableSettings((), BEFORE)
        assert firewall.table.in_force == TableSettings((), AFTER)
        firewall.table.trigger()
        await until(lambda: firewall.table.in_force == TableSettings((), BEFORE))
