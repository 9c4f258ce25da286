"""What differs at the tunnel interfaces, as text and as JSON, for ``plan`` and ``check``."""

from collections.abc import Iterator
from typing import Any

from dmvpn_agent.kernel.links.preview import LinkPreview


def tunnel_text(preview: LinkPreview) -> Iterator[str]:
    """Yield nothing if the tunnel interfaces are as configured."""
    if preview.problems:
        yield "FIX THESE at the tunnel interfaces:"
        yield from (f"  {problem}" for problem in preview.problems)
        yield ""
    if preview.would_change:
        yield "CHANGES at the tunnel interfaces:"
        yield from (f"  {line}" for line in preview.would_change)
        yield ""
    if preview.differs:
        yield "DIFFERS, and the agent leaves it (manage = false); these commands would correct it:"
        yield from (f"  {line}" for line in preview.differs)
        yield ""


def tunnel_json(preview: LinkPreview) -> dict[str, Any]:
    """Return the commands and problems."""
    return {
        "changes": list(preview.would_change),
        "differs": list(preview.differs),
        "problems": [
            {"interface": one.interface, "kind": str(one.kind), "found": one.found, "do": one.do}
            for one in preview.problems
        ],
    }
