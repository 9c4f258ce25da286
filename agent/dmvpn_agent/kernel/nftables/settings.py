"""What the operator configures of the table."""

from dataclasses import dataclass

from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.groups import Groups


@dataclass(frozen=True, slots=True)
class TableSettings:
    """The tunnel interfaces, and the settings of each section; ``None`` for one that is off."""

    interfaces: tuple[str, ...]
    redirect: RedirectRule | None = None
    source_filter: SourceFilter | None = None
    groups: Groups | None = None
    guard: GreGuard | None = None
    clamps_mss: bool = False
    multicast: MulticastRule | None = None

    @property
    def keeps_table(self) -> bool:
        """Tell whether any section is on, so that the agent keeps a table."""
        rules = self.redirect, self.source_filter, self.groups, self.guard, self.clamps_mss, self.multicast
        return any(rules)

    @property
    def drops(self) -> bool:
        """Tell whether the table drops packets that peers may not send."""
        return any(one and one.mode is FilterMode.ENFORCE for one in (self.source_filter, self.guard))
