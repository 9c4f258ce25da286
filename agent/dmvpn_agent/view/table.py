"""Aligned columns of text."""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from dmvpn_agent.runtime.printable import printable

#: The narrowest that a column becomes to fit a terminal.
NARROWEST = 6
#: Columns that wrapped text has at least.
NARROWEST_TEXT = 20


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], widest: int = 1000, width: int | None = None
) -> str:
    """Return rows as aligned columns under a header. Cells longer than ``widest`` do not widen their column.

    Each row is one line, whatever its cells contain. With a ``width``, cells are cut so that no line is longer.
    """
    lines = cells(header, rows, widest, width)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def cells(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    widest: int = 1000,
    width: int | None = None,
    whole: int = 0,
) -> list[list[str]]:
    """Return the header and the rows as printable cells, padded to their columns and cut as ``table`` does.

    The first ``whole`` columns are not cut: a name that is cut cannot be typed.
    """
    lines = [tuple(header), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(min(len(line[column]), widest) for line in lines) for column in range(len(header))]
    if width is not None:
        least = [*widths[:whole], *(max(NARROWEST, len(name)) for name in header[whole:])]
        widths = _fitted(widths, least, width - 2 * (len(header) - 1))
    cut = width is not None
    return [[_cell(cell, size, cut=cut) for cell, size in zip(line, widths, strict=True)] for line in lines]


def hanging(before: str, text: str, width: int | None) -> list[str]:
    """Return a text behind ``before``, wrapped to a terminal's width; further lines are indented as far."""
    room = max((width or 0) - len(before), NARROWEST_TEXT)
    lines = [text] if width is None else wrap(text, room, break_on_hyphens=False) or [""]
    return [before + lines[0], *(" " * len(before) + line for line in lines[1:])]


def fitting_columns(
    header: Sequence[str], rows: Iterable[Sequence[str]], dropped: Iterable[str], width: int | None, last: int
) -> list[int]:
    """Return the columns to show: those in ``dropped`` go, in its order, until the last column has its room.

    The last column needs its widest cell, or ``last`` characters if that is less.
    """
    columns = list(range(len(header)))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for name in dropped:
        needed = sum(widths[column] + 2 for column in columns[:-1]) + min(widths[-1], last)
        if width is None or needed <= width:
            break
        columns.remove(header.index(name))
    return columns


def _fitted(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that need no more than the room if possible: the widest columns give way first."""
    fitted = list(widths)
    least = [min(size, low) for size, low in zip(widths, least, strict=True)]
    while sum(fitted) > room:
        spare = [size - low for size, low in zip(fitted, least, strict=True)]
        if not any(spare):
            break
        most = max(size for size, left in zip(fitted, spare, strict=True) if left)
        fitted[next(i for i, left in enumerate(spare) if left and fitted[i] == most)] -= 1
    return fitted


def _cell(text: str, size: int, *, cut: bool) -> str:
    return f"{text[: size - 1]}…" if cut and len(text) > size else text.ljust(size)
