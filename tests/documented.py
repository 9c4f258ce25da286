"""docs/json.md beside the documents that the program makes."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parents[1] / "docs" / "json.md").read_text()


def section(schema: str) -> str:
    """Return what docs/json.md says about a schema."""
    return re.split(r"\n##+ ", TEXT.split(f"### `{schema}`\n")[1])[0]


def documented(schema: str) -> set[str]:
    """Return the paths of the keys in the table of a schema."""
    return set(re.findall(r"^\| `([^`]+)` \|", section(schema), re.MULTILINE))


def paths(value: Any, path: str = "", opaque: Collection[str] = ()) -> set[str]:
    """Return the paths of all keys but those in ``opaque`` values; `[]` stands for each item of a list."""
    if path in opaque:
        return set()
    if isinstance(value, dict):
        found = set[str]()
        for key, item in value.items():
            name = f"{path}.{key}".strip(".")
            found |= {name} | paths(item, name, opaque)
        return found
    if isinstance(value, list):
        return set().union(*(paths(item, f"{path}[]", opaque) for item in value))
    return set()


def assert_documented(schema: str, *documents: Any, opaque: Collection[str] = ()) -> None:
    """Check that documents have each documented key, and no other one.

    ``opaque``: values whose keys are described elsewhere.
    """
    found = set().union(*(paths(one, opaque=opaque) for one in documents))
    known = documented(schema)
    assert found - known == set(), f"{schema}: not in docs/json.md"
    assert known - found == set(), f"{schema}: in docs/json.md, and in no document"
