"""Aligned columns of text."""

from collections.abc import Iterable, Sequence

from dmvpn_agent.runtime.printable import printable


def table(header: Sequence[str], rows: Iterable[Sequence[object]], widest: int = 1000) -> str:
    """Return rows as aligned columns under a header. Cells longer than ``widest`` do not widen their column.

    Each row is one line, whatever its cells contain.
    """
    lines = [tuple(header), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(min(len(line[column]), widest) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
