"""Fill the placeholders of the files of the checkout, as users do: ``@NAME@`` becomes the value of ``NAME``.

A list has its line repeated for each value; if it is empty, the line is left out.
"""

import re
from collections.abc import Iterator, Mapping

_PLACEHOLDER = re.compile(r"@([A-Z0-9_]+)@")


def render(text: str, values: Mapping[str, object]) -> str:
    """Replace every placeholder outside comment lines.

    Raises ``KeyError`` for one without a value, ``ValueError`` for lists of different lengths on one line.
    """
    return "".join(filled for line in text.splitlines(keepends=True) for filled in _fill(line, values))


def _fill(line: str, values: Mapping[str, object]) -> Iterator[str]:
    names = () if line.startswith(("#", "!")) else _PLACEHOLDER.findall(line)
    lists = {name: value for name in names if isinstance(value := values[name], list)}
    if not lists:
        yield _PLACEHOLDER.sub(lambda match: str(values[match[1]]), line) if names else line
        return
    if not all(lists.values()):
        return
    for items in zip(*lists.values(), strict=True):
        own = {**values, **dict(zip(lists, items, strict=True))}
        yield _PLACEHOLDER.sub(lambda match, own=own: str(own[match[1]]), line)  # type: ignore[misc]
