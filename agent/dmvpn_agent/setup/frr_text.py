"""FRR's configuration as text: what a node's lacks of the wanted one, and what contradicts it.

An operator's configuration stays. Lines are added; a line that says otherwise is a conflict, except where the
operator may choose freely, such as timers: there the operator's value is kept.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

#: A line with the lines of the sections that it stands in, outermost first.
Line = tuple[str, ...]

#: Words that no daemon keeps: what only vtysh reads, and what ends a section.
_NOT_KEPT = frozenset({"!", "end", "exit", "exit-address-family", "exit-vrf", "frr", "service", "configure"})
_GROUPS = "spokes|hubs|spokes-ibgp|hubs-ibgp"
#: Lines that exclude each other if their groups are the same. The agent depends on setup's.
_FIXED = tuple(re.compile(pattern) for pattern in (
    r"(nhrp event socket) .*",
    r"(nhrp nflog-group) .*",
    r"(router bgp) \d+",
    r"((?:ip|ipv6) prefix-list nothing) .*",
    r"((?:ip|ipv6) prefix-list (?:spokes-out|hubs-out|own) seq \d+) .*",
    r"(bgp as-path access-list own seq \d+) .*",
    r"(tunnel protection) .*",
    rf"(neighbor (?:{_GROUPS}) remote-as) .*",
    rf"(neighbor (?:{_GROUPS})) (?:prefix-list|filter-list) \S+ (in|out)",
))  # fmt: skip
#: The same, where the operator's value is as good.
_FREE = tuple(re.compile(pattern) for pattern in (
    r"((?:ip|ipv6) nhrp (?:network-id|holdtime)) .*",
    r"(bgp (?:router-id|cluster-id)) .*",
    rf"(neighbor (?:{_GROUPS}) timers connect) .*",
    rf"(neighbor (?:{_GROUPS}) timers) \d+ \d+",
    r"(maximum-paths) \d+",
    r"(maximum-paths ibgp) \d+",
))  # fmt: skip


_END = {"address-family": "exit-address-family"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A wanted configuration compared with one that is there.

    ``missing``: lines to add. ``kept``: lines of the operator, each with what setup would write in its place.
    ``conflicts``: likewise, where the operator's line cannot stay.
    """

    missing: tuple[Line, ...] = ()
    kept: tuple[tuple[Line, Line], ...] = ()
    conflicts: tuple[tuple[Line, Line], ...] = ()


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a configuration, each in its sections, without comments."""
    sections: list[tuple[int, str]] = []
    for line in text.splitlines():
        indent, words = len(line) - len(line.lstrip(" ")), line.split()
        if not words or words[0].startswith(("!", "#")) or words[0] in _NOT_KEPT:
            continue
        while sections and sections[-1][0] >= indent:
            sections.pop()
        sections.append((indent, " ".join(words)))
        yield tuple(one for _, one in sections)


def compare(wanted: str, present: str) -> Comparison:
    """Compare two configurations."""
    there = tuple(dict.fromkeys(lines(present)))
    known, missing, kept, conflicts = set(there), [], [], []
    for line in dict.fromkeys(lines(wanted)):
        if line in known:
            continue
        if others := _others(line, there, _FIXED):
            conflicts += [(other, line) for other in others]
        elif others := _others(line, there, _FREE):
            kept += [(other, line) for other in others]
        else:
            missing.append(line)
    return Comparison(tuple(missing), tuple(kept), tuple(dict.fromkeys(conflicts)))


def _others(line: Line, there: Iterable[Line], kinds: Iterable[re.Pattern[str]]) -> list[Line]:
    """Return the lines of the same section that exclude a line."""
    for kind in kinds:
        if own := kind.fullmatch(line[-1]):
            return [one for one in there if one[:-1] == line[:-1] and _has_groups(kind, one[-1], own.groups())]
    return []


def _has_groups(kind: re.Pattern[str], text: str, groups: tuple[str, ...]) -> bool:
    found = kind.fullmatch(text)
    return found is not None and found.groups() == groups


def merged(wanted: str, present: str) -> str:
    """Return a present configuration with what it lacks of the wanted one at its end: FRR reads a section in parts.

    If it lacks everything, the wanted text is added as it is, with its comments.
    """
    missing = compare(wanted, present).missing
    if not missing:
        return present
    if not present.strip():
        return wanted
    begin = present if present.endswith("\n") else f"{present}\n"
    if missing == tuple(dict.fromkeys(lines(wanted))):
        body = wanted.partition("service integrated-vtysh-config\n")
        return f"{begin}!\n! Added by dmvpn-agent setup.\n{body[2] or wanted}"
    return f"{begin}!\n! Added by dmvpn-agent setup.\n{section_text(missing)}"


def section_text(missing: Iterable[Line]) -> str:
    """Return lines as vtysh reads them, each section with its end."""
    out: list[str] = []
    inside: Line = ()
    for line in (*missing, ()):
        section = line if line and _opens(line[-1]) else line[:-1]
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(section, inside, strict=False)))
        for depth in reversed(range(common, len(inside))):
            out.append(" " * depth + _END.get(inside[depth].split()[0], "exit"))
        out += [" " * depth + section[depth] for depth in range(common, len(section))]
        if line != section:
            out.append(" " * len(section) + line[-1])
        inside = section
    return "".join(f"{one}\n" for one in out)


def _opens(text: str) -> bool:
    return text.split(maxsplit=1)[0] in {"interface", "router", "address-family"}
