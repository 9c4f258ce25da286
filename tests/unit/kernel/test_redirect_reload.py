"""A reload while the redirect rule is being written."""

from dmvpn_agent.kernel.nft import ShownTable
from dmvpn_agent.kernel.redirect import RedirectKeeper
from dmvpn_agent.kernel.redirect_rule import RedirectRule
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

BEFORE, AFTER = (RedirectRule((name,), 1, 24, 24, 4, 1) for name in ("gre1", "gre2"))


class _Firewall:
    """Shows the rule that it was given last. The first time, a reload comes meanwhile."""

    def __init__(self) -> None:
        self.keeper: RedirectKeeper
        self.rule: RedirectRule | None = None

    async def show(self) -> ShownTable | None:
        return ShownTable(str(self.rule), 0) if self.rule else None

    async def install(self, rule: RedirectRule) -> None:
        if self.rule is None:
            self.keeper.reload(AFTER)
        self.rule = rule


async def test_a_reload_while_the_old_rule_is_written_is_not_lost(telemetry: Telemetry) -> None:
    """The agent writes the new rule next."""
    firewall = _Firewall()
    firewall.keeper = RedirectKeeper(BEFORE, firewall, telemetry)
    async with running(firewall.keeper.run()):
        await until(lambda: firewall.rule == AFTER)
