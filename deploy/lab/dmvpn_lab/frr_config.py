"""FRR's configuration as it was written and as FRR shows it: vtysh's status does not tell what was dropped."""

from collections.abc import Iterator

#: Words that no daemon keeps: what only vtysh reads, and what ends a section.
_NOT_KEPT = frozenset({"!", "end", "exit", "exit-address-family", "exit-vrf", "frr", "service", "configure"})

#: A line with the lines of the sections that it stands in, outermost first.
Line = tuple[str, ...]


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a configuration, each in its sections, without comments."""
    sections: list[tuple[int, str]] = []
    for line in text.splitlines():
        indent, words = len(line) - len(line.lstrip(" ")), line.split()
        if not words or words[0].startswith("!") or words[0] in _NOT_KEPT:
            continue
        while sections and sections[-1][0] >= indent:
            sections.pop()
        sections.append((indent, " ".join(words)))
        yield tuple(one for _, one in sections)


def lacking(wanted: str, running: str) -> list[str]:
    """Return the lines of a configuration that ``show running-config`` does not have, each with its section.

    FRR up to 10 has a daemon drop a line without a word: ``vtysh -b`` ends with status 0 all the same.
    """
    shown = set(lines(running))
    return [" / ".join(line) for line in lines(wanted) if line not in shown]
