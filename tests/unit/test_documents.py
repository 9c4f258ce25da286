"""The documents: every link has a target."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (*CHECKOUT.glob("*.md"), *CHECKOUT.glob("[dfs]*/**/*.md"))
    if not any(part.startswith(".") for part in path.relative_to(CHECKOUT).parts)
)


def _anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as on a rendered page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_has_a_file_and_a_heading(document: Path) -> None:
    """Links to other sites are not tested."""
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (document.parent / file).resolve() if file else document
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there.read_text()), target
