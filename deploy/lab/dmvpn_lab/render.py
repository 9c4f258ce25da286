"""Fill the placeholders of the files that users take: ``@NAME@`` becomes the value of ``NAME``."""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


def render(text: str, values: Mapping[str, object]) -> str:
    """Replace every placeholder outside comment lines. Raises ``KeyError`` for one without a value."""
    return "".join(
        line if line.startswith(("#", "!")) else _PLACEHOLDER.sub(lambda match: str(values[match[1]]), line)
        for line in text.splitlines(keepends=True)
    )
