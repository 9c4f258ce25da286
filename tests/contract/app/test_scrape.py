"""A scrape is answered from what the agent knows."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from contract.app.test_parts import CONFIG
from dmvpn_agent.app import AgentApp
from dmvpn_agent.config.file import load
from factories import authority_pem
from fakes.charon import FakeCharon, FakeSa
from fakes.vty_server import VtyServer, reply
from fakes.waiting import running, until
from page_process import free_endpoint

pytestmark = pytest.mark.contract

SCRAPES = 100


async def test_nothing_is_asked_of_a_daemon_in_a_scrape(tmp_path: Path) -> None:
    """Of charon, nhrpd and bgpd the agent asks on its own account only: far less than once for each scrape."""
    port = free_endpoint().port
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG.format(directory=tmp_path, port=port).replace("[frr]", "[frr]\nresync_seconds = 3600"))
    (tmp_path / "ca.pem").write_bytes(authority_pem())
    charon = FakeCharon(tmp_path / "real.vici")
    charon.sas[1] = FakeSa(1, "203.0.113.9", "CN=spoke1", children={1: "INSTALLED"})
    app = AgentApp(load(file), None, dry_run=True)

    def scrape() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    async with AsyncExitStack() as stack:
        await charon.start()
        stack.push_async_callback(charon.stop)
        frr = [
            await stack.enter_async_context(VtyServer(tmp_path, lambda _: reply("{}\n"), daemon))
            for daemon in ("bgpd", "nhrpd")
        ]
        await app.start()
        stack.push_async_callback(app.stop)
        await stack.enter_async_context(running(app.run()))

        def asked() -> list[int]:
            """Return how many requests each daemon has had."""
            return [len(charon.requests), *(sum(map(len, one.conversations)) for one in frr)]

        await until(lambda: min(asked()) > 0 and bool(app.components.charon.watch.ike_sas))
        before = asked()
        for _ in range(SCRAPES):
            assert 'dmvpn_agent_source_up{source="charon"} 1' in await asyncio.to_thread(scrape)
        assert max(now - then for now, then in zip(asked(), before, strict=True)) < SCRAPES / 2
