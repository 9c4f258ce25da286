"""What differs at the tunnel interfaces, as text and as JSON, for ``plan`` and ``check``."""

from collections.abc import Iterator
from typing import Any

from dmvpn_agent.cli.sections import section
from dmvpn_agent.kernel.links.preview import LinkPreview


def tunnel_text(preview: LinkPreview) -> Iterator[str]:
    """Yield nothing if the tunnel interfaces are as configured."""
    yield from section("FIX THESE at the tunnel interfaces:", preview.problems)
    yield from section("CHANGES at the tunnel interfaces:", preview.would_change)
    differs = "DIFFERS, and the agent leaves it (manage = false); these commands would correct it:"
    yield from section(differs, preview.differs)


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
