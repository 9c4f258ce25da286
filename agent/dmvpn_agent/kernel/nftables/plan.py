"""The changes from the table that nft shows to the sections that are desired.

A plan is one transaction, except that a section whose sets are new gets its late rules in a second one. A
transaction is applied as a whole or not at all: an interrupted plan leaves the former table, or the new one without
late rules.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dmvpn_agent.kernel.nftables import script
from dmvpn_agent.kernel.nftables.section import Elements, Section, SectionName
from dmvpn_agent.kernel.nftables.shown_table import ShownTable

#: The table itself among the objects of ``ShownTable.content``.
_TABLE = "table dmvpn_agent"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Replace all rules of the table.

    ``cause``: ``start``, ``missing`` (no table), ``changed`` (another program edited it) or ``settings`` (other
    sections are desired than were written). ``sections``: the sections that differ.
    """

    cause: str
    sections: tuple[SectionName, ...]


@dataclass(frozen=True, slots=True)
class ChangeElements:
    """Change the elements of sets in one transaction.

    ``kept``: the other elements of the sets; ``sets``: the sets' declarations (``Section.sets``).
    """

    added: Elements
    removed: Elements
    kept: Elements = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    @property
    def script(self) -> str:
        """Return nft's commands; what goes, goes first."""
        return script.delete(self.removed) + script.add(self.added, self.sets)

    @property
    def refilling(self) -> str:
        """Return the commands that fill the sets anew from which elements go, and add the others."""
        none: frozenset[str] = frozenset()
        filled = {name: self.kept.get(name, none) | self.added.get(name, none) for name in self.removed}
        others = {name: members for name, members in self.added.items() if name not in self.removed}
        return script.refill(filled, self.sets) + script.add(others, self.sets)

    @property
    def count(self) -> int:
        """Return how many elements are added or removed."""
        return sum(map(len, (*self.added.values(), *self.removed.values())))

    def parts(self) -> tuple["ChangeElements", ...]:
        """Return the removals and two halves of what is added, each as a change; nothing if there is one element."""
        if self.count < 2:
            return ()
        if self.removed and self.added:
            return replace(self, added={}), replace(self, removed={})
        ordered = sorted((name, text) for name, members in (self.added or self.removed).items() for text in members)
        middle = len(ordered) // 2
        halves = (_grouped(ordered[:middle]), _grouped(ordered[middle:]))
        return tuple(replace(self, added=half) if self.added else replace(self, removed=half) for half in halves)


def _grouped(members: Iterable[tuple[str, str]]) -> Elements:
    grouped: dict[str, set[str]] = defaultdict(set)
    for name, text in members:
        grouped[name].add(text)
    return {name: frozenset(texts) for name, texts in grouped.items()}


@dataclass(frozen=True, slots=True)
class Written:
    """What the agent wrote last: the bodies of its sections, and how nft showed the table then."""

    sections: tuple[Section, ...]
    content: Mapping[str, str]


Plan = Rewrite | ChangeElements | None


def plan(wanted: tuple[Section, ...], shown: ShownTable | None, written: Written | None) -> Plan:
    """Return what to do; ``None`` if the table is as desired."""
    everything = tuple(section.name for section in wanted)
    if shown is None:
        return Rewrite("start" if written is None else "missing", everything) if wanted else None
    if written is None:
        return Rewrite("start", everything)
    if changed := _changed(shown, written):
        return Rewrite("changed", changed)
    if bodies(wanted) != bodies(written.sections):
        before = bodies(written.sections)
        return Rewrite("settings", tuple(one.name for one in wanted if before.get(one.name) != (one.body, one.late)))
    return changed_elements(wanted, shown.members)


def changed_elements(wanted: tuple[Section, ...], present: Elements) -> ChangeElements | None:
    """Return the changes from the present elements to the desired ones."""
    elements = {name: members for section in wanted for name, members in section.elements.items()}
    added = {name: new for name, members in elements.items() if (new := members - present.get(name, frozenset()))}
    removed = {name: old for name, members in present.items() if (old := members - elements.get(name, frozenset()))}
    if not added and not removed:
        return None
    kept = {name: members & present.get(name, frozenset()) for name, members in elements.items()}
    return ChangeElements(
        added, removed, kept, {name: text for section in wanted for name, text in section.sets.items()}
    )


def replace_rules(sections: tuple[Section, ...], shown: ShownTable) -> str:
    """Return the script that makes the shown table the desired one and keeps its sets.

    nft refuses it if a set is declared in another way than before.
    """
    names = {name for section in sections for name in section.elements}
    present = {name: members for name, members in shown.members.items() if name in names}
    change = changed_elements(sections, present)
    return script.replace_rules(sections, shown.content.keys() - {_TABLE}, change.script if change else "")


def bodies(sections: tuple[Section, ...]) -> dict[SectionName, tuple[str, str]]:
    """Return what of the sections is not an element."""
    return {section.name: (section.body, section.late) for section in sections}


def _changed(shown: ShownTable, written: Written) -> tuple[SectionName, ...]:
    """Return the sections whose objects nft shows otherwise than after they were written.

    An object of no section, which another program put into the table, counts for the first section.
    """
    objects = {*shown.content, *written.content}
    differing = {one for one in objects if shown.content.get(one) != written.content.get(one)}
    if not differing:
        return ()
    changed = tuple(section.name for section in written.sections if section.objects & differing)
    return changed or tuple(section.name for section in written.sections[:1])


def is_new(section: Section, shown: ShownTable) -> bool:
    """Tell whether the table lacks the section's objects."""
    return not section.objects <= shown.content.keys()
