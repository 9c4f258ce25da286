"""How soon a browser shows a thousand peers: from the request of the page until they are painted.

The page and a simulated agent are in one process, the browser is Debian's chromium without a GPU.
"""

import asyncio
import statistics
import tempfile
from pathlib import Path

import structlog

from browser import CHROMIUM, MISSING, Tab, chromium
from dmvpn_agent.view.table import table
from fakes.agents import FakeAgent, crowd, serving
from page_process import page

PEERS = 1000
VISITS = 9
#: Seconds.
LIMIT = 1.0
_PAINTED = "performance.getEntriesByName('peers-painted')"
_ANYTHING = "performance.getEntriesByName('first-contentful-paint')"


async def _visit(tab: Tab, url: str) -> tuple[float, float]:
    """Return after how many seconds anything was painted, and the peers."""
    await tab.visit(url)
    await tab.until(f"{_PAINTED}.length && {_ANYTHING}.length")
    anything, peers = await tab.run(f"[{_ANYTHING}[0].startTime, {_PAINTED}[0].startTime]")
    return anything / 1e3, peers / 1e3


async def _measure(folder: Path) -> list[tuple[object, ...]]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    path = folder / "control.sock"
    async with chromium() as tab, serving(path, FakeAgent(crowd(PEERS))), page(path) as client:
        times = [await _visit(tab, client.url) for _ in range(VISITS)][1:]  # the first one starts the browser too
    rows: list[tuple[object, ...]] = []
    for what, found in zip(("anything", f"{PEERS} peers"), zip(*times, strict=True), strict=True):
        median = statistics.median(found)
        met = "yes" if median <= LIMIT else "no"
        rows.append((f"{what} painted: median, longest", f"{median:.2f} s, {max(found):.2f} s", f"{LIMIT:g} s", met))
    return rows


def main() -> None:
    """Measure and print one table."""
    if not CHROMIUM:
        print(f"page: {MISSING}")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_measure(Path(folder)))
    print(f"the page with {PEERS} peers, in a browser")
    print(table(("WHAT", "TOOK", "ASKED", "MET"), rows))


if __name__ == "__main__":
    main()
