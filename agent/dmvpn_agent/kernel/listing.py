"""What differs between two listings of rules, each in the words of the program that lists them."""

from collections.abc import Iterator, Sequence
from difflib import unified_diff


def blocks(listing: str) -> list[list[str]]:
    """Return the objects of ``nft list table``, each with its lines, in the order of their names."""
    found: list[list[str]] = []
    for line in listing.splitlines():
        if line.startswith("\t") and not line.startswith(("\t\t", "\t}")):
            found.append([line.strip()])
        elif line.startswith("\t") and found:
            found[-1].append(line.removeprefix("\t"))
    return sorted(found)


def differences(now: Sequence[Sequence[str]], then: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the objects that differ, as a diff; the first line of an object is its name."""
    before, after = ({one[0]: list(one) for one in listing} for listing in (now, then))
    for name in sorted({*before, *after}):
        lines = list(unified_diff(before.get(name, []), after.get(name, []), lineterm="", n=1000))
        yield from lines[3:]  # what precedes are names of files and numbers of lines
