"""Placeholders of the files to start from, ``@AS_NUMBER@`` and the like, that nobody has filled in."""

import re
from collections.abc import Iterator

_PLACEHOLDER = re.compile(r"@[A-Z][A-Z0-9_]*@")
_COMMENT = re.compile(r"\s*[#!]")


def placeholders(text: str) -> Iterator[str]:
    """Yield each line that has some, outside of comments, as ``line 7: @AS_NUMBER@``."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not _COMMENT.match(line) and (found := _PLACEHOLDER.findall(line)):
            yield f"line {number}: {', '.join(dict.fromkeys(found))}"
