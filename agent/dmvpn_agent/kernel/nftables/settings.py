"""What the operator configures of the table."""

from dataclasses import dataclass, fields

from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule


@dataclass(frozen=True, slots=True)
class TableSettings:
    """The settings of the sections; ``None`` for a section that is off."""

    redirect: RedirectRule | None

    @property
    def keeps_table(self) -> bool:
        """Tell whether any section is on, so that the agent keeps a table."""
        return any(getattr(self, section.name) is not None for section in fields(self))
