"""Sections of the output of commands."""

from collections.abc import Iterable, Iterator


def section(title: str, lines: Iterable[object]) -> Iterator[str]:
    """Yield a title, the lines indented below it, and an empty line; nothing if there are no lines."""
    indented = [f"  {line}" for line in lines]
    if indented:
        yield from (title, *indented, "")
