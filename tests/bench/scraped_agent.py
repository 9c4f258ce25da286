"""The agent that ``bench.scrape`` watches, in a process of its own, which imports no more of the tests than this."""

import asyncio
import contextlib
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import structlog

from dmvpn_agent.app import AgentApp
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.garbage import search_seldom, spare_present_objects


class _Probe:
    """Measures by how much short sleeps are too long."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._longest = 0.0

    def start(self) -> None:
        self._longest = 0.0
        self._task = asyncio.create_task(self._measure())

    def stop(self) -> None:
        if self._task:
            self._task.cancel()
        print(self._longest, flush=True)

    async def _measure(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            self._longest = max(self._longest, time.perf_counter() - began - 0.001)


async def run(config: Path, now: datetime, peers: int) -> None:
    """Be the agent: print when all peers are configured, and the longest delay when asked by signals."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    app = AgentApp(load(config), clocks=Clocks(now=lambda: now))
    await app.start()
    search_seldom()
    spare_present_objects()
    keeper, probe = app.components.bgp.reconciler, _Probe()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, probe.start)
    loop.add_signal_handler(signal.SIGUSR2, probe.stop)
    running = asyncio.create_task(app.run())
    while not (keeper and keeper.last_sync and len(keeper.neighbors() or ()) == peers):
        await asyncio.sleep(0.1)
    while len(app.components.view.peer_watch.current) != peers:
        await asyncio.sleep(0.1)
    print("ready", flush=True)
    await running


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])))
