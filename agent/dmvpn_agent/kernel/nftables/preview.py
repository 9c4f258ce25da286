"""What the agent would write into its nftables table, and what is known to differ."""

from dataclasses import dataclass

from dmvpn_agent.kernel.nftables import script
from dmvpn_agent.kernel.nftables.plan import changed_elements
from dmvpn_agent.kernel.nftables.section import Section, SectionName
from dmvpn_agent.kernel.nftables.shown_table import ShownTable


@dataclass(frozen=True, slots=True)
class TablePreview:
    """``script``: the whole table as input of ``nft -f -``; empty if the agent keeps none.

    ``missing``: sections that the table lacks, wholly or in part. ``added`` and ``removed``: how many elements
    differ. ``there``: whether there is a table. ``rules``: what of sets, chains and rules differs, as a diff in nft's
    words; ``uncompared``: why they were not compared.
    """

    script: str
    there: bool
    missing: tuple[SectionName, ...]
    added: int
    removed: int
    rules: tuple[str, ...] = ()
    uncompared: str | None = None

    @property
    def different(self) -> bool:
        """Tell whether anything is known to differ."""
        return self.there != bool(self.script) or bool(self.missing or self.added or self.removed or self.rules)


def preview(sections: tuple[Section, ...], shown: ShownTable | None) -> TablePreview:
    """Return the preview of the table that ``shown`` is now."""
    change = changed_elements(sections, shown.members if shown else {})
    return TablePreview(
        script.render(sections) if sections else "",
        shown is not None,
        tuple(one.name for one in sections if shown is None or not one.objects <= shown.content.keys()),
        sum(map(len, change.added.values())) if change else 0,
        sum(map(len, change.removed.values())) if change else 0,
    )
