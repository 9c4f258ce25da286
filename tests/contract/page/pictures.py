"""Draws the pictures of docs/page.md: `python -m contract.page.pictures docs/images`, with `tests` on the path."""

import asyncio
import sys
import tempfile
from pathlib import Path

from PIL import Image

from browser import Tab, chromium
from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.stage import Stage
from fakes.agents import FakeAgent, crowd, peer, serving
from page_process import Client, page

WIDTH, HEIGHT = 1200, 860


def _hub(number: int) -> list[JoinedPeer]:
    """Return what one of two hubs sees: the other one, and the same spokes."""
    stuck = {3: Stage.NO_IKE, 9: Stage.DENIED} if number == 1 else {14: Stage.NO_BGP, 3: Stage.NO_IKE}
    other = peer(100 + number, name=f"hub{3 - number}", kind=PeerKind.HUB)
    return [other, *(peer(one, stuck.get(one, Stage.UP)) for one in range(2, 25))]


async def _draw(tab: Tab, client: Client, file: Path, where: str = "", dark: bool = False, ready: str = "") -> None:
    await tab.visit(f"{client.url}/{where}", dark=dark, width=WIDTH, height=HEIGHT)
    await tab.until(ready or "document.querySelectorAll('.picture [data-link]').length > 5")
    if not ready:  # the second reading tells the traffic
        await tab.until("[...document.querySelectorAll('.link')].some(one => one.getAttribute('stroke-width') > 2)")
    await _keep(tab, file)


async def _keep(tab: Tab, file: Path) -> None:
    await tab.photograph(file)
    Image.open(file).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)
    print(file)


async def _draw_all(folder: Path, sockets: Path) -> None:
    names = "hub1", "hub2", "crowd"
    one, two, many = (sockets / name for name in names)
    nodes = [NodeSettings("hub1", one), NodeSettings("hub2", two)]
    hub1, hub2 = FakeAgent(_hub(1), busy=True), FakeAgent(_hub(2), busy=True)
    async with chromium() as tab, serving(one, hub1):
        async with page(sockets / "none", *nodes) as client:
            async with serving(two, hub2):
                await _draw(tab, client, folder / "page.png")
                await _draw(tab, client, folder / "page-peer.png", "#/peer/hub1/spoke9",
                            ready="document.querySelector('.stages') !== null")  # fmt: skip
                await tab.visit(client.url, width=WIDTH, height=HEIGHT)
                await tab.until("document.querySelectorAll('tbody tr').length === 48")
            await tab.until("document.querySelector('.picture .center.away') !== null")
            await _keep(tab, folder / "page-away.png")
        thousand = serving(many, FakeAgent(crowd(1000), busy=True))
        async with thousand, page(many, NodeSettings("hub1", many)) as client:
            await _draw(tab, client, folder / "page-dark.png", dark=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(_draw_all(Path(sys.argv[1]), Path(made)))
