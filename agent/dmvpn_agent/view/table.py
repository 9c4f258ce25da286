"""Aligned columns for people."""

from collections.abc import Iterable, Sequence

from dmvpn_agent.runtime.printable import printable


def table(header: Sequence[str], rows: Iterable[Sequence[object]], widest: int = 1000) -> str:
    """Return rows as aligned columns under a header; cells longer than ``widest`` align nothing.

    Each row is one line, whatever is in its cells.
    """
    lines = [tuple(header), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(min(len(line[column]), widest) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
