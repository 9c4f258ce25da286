"""What a scrape costs an agent with a thousand peers, each with an IKE_SA and a CHILD_SA: CPU, delay, memory.

The agent is a process of its own, with the real bgpd; charon and nhrpd's command line are another.
"""

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import structlog

from bench.network import LARGE
from bench.stretches import CONFIG, PEERS, _prepare, _world
from contract.frr import available
from dmvpn_agent.admission.reauthorizer import SETTLING
from dmvpn_agent.app import AgentApp
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.garbage import search_seldom, spare_present_objects
from dmvpn_agent.view.table import table
from factories import NOW
from fakes.waiting import running, until

SCRAPES = 100
SILENT = 1000
IDLE = 60.0
_TICK = os.sysconf("SC_CLK_TCK")


class _Agent:
    """The agent's process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.port = port

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> tuple[int, int]:
        """Return the bytes that the process has for itself, and those with the libraries that others use too."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = [(line.split()[0], int(line.split()[1]) << 10) for line in lines]
        own = sum(size for name, size in sizes if name.startswith("Private_"))
        return own, dict(sizes)["Rss:"]

    def scrape(self) -> int:
        """Scrape as Prometheus does; return how many lines there are if it is not compressed."""
        headers = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
        with urlopen(Request(f"http://127.0.0.1:{self.port}/metrics", headers=headers), timeout=30) as answer:
            return len(answer.read())

    def series(self) -> int:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return sum(not line.startswith(b"#") for line in answer)

    def delay(self, work: Callable[[], object]) -> float:
        """Return the longest delay of the agent's event loop during some work, in seconds."""
        self.process.send_signal(signal.SIGUSR1)
        work()
        self.process.send_signal(signal.SIGUSR2)
        assert self.process.stdout
        return float(self.process.stdout.readline())

    def times(self) -> list[float]:
        """Return how long each of a hundred scrapes took, one after another."""
        found = []
        for _ in range(SCRAPES):
            began = time.perf_counter()
            self.scrape()
            found.append(time.perf_counter() - began)
        return found


async def _run(directory: Path, frr: Path, port: int) -> None:
    """Be the agent: print when all peers are configured, and the longest delay when asked."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    file = directory / "agent.toml"
    file.write_text(CONFIG.format(directory=directory, frr=frr, port=port))
    app = AgentApp(replace(load(file), policy=LARGE), clocks=Clocks(now=lambda: NOW))
    await app.start()
    search_seldom()
    spare_present_objects()
    keeper, probe = app.components.bgp.reconciler, _Probe()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, probe.start)
    loop.add_signal_handler(signal.SIGUSR2, probe.stop)
    async with running(app.run()):
        assert keeper
        await until(lambda: keeper.last_sync and len(keeper.neighbors() or ()) == PEERS)
        await until(lambda: len(app.components.view.peer_watch.current) == PEERS)
        print("ready", flush=True)
        await asyncio.Event().wait()


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


def _rows(agent: _Agent) -> list[tuple[object, ...]]:
    for _ in range(3):
        agent.scrape()
    time.sleep(SETTLING.total_seconds() + 10)
    began, cpu = time.perf_counter(), agent.cpu()
    time.sleep(IDLE)
    idle = (agent.cpu() - cpu) / (time.perf_counter() - began)
    began, cpu = time.perf_counter(), agent.cpu()
    alone = agent.times()
    spent = (agent.cpu() - cpu - idle * (time.perf_counter() - began)) / SCRAPES
    quiet = min(agent.delay(lambda: time.sleep(0.5)) for _ in range(5))
    delays = sorted(agent.delay(agent.scrape) for _ in range(21))
    own, resident = agent.memory()
    silent = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(SILENT)]
    beside = agent.times()
    for connection in silent:
        connection.close()
    return [
        ("CPU of a scrape (OpenMetrics, gzip)", f"{spent * 1e3:.0f} ms", "60 ms", _met(spent <= 0.06)),
        ("delay of the event loop by a scrape", f"{delays[10] * 1e3:.1f} ms", "15 ms", _met(delays[10] <= 0.015)),
        ("the same: longest of 21; without a scrape", f"{delays[-1] * 1e3:.1f} ms; {quiet * 1e3:.1f} ms", "", ""),
        (f"{SCRAPES} scrapes: median, longest", _spread(alone), "", ""),
        (f"the same beside {SILENT} silent clients", _spread(beside), "as above",
         _met(statistics.median(beside) < 1.2 * statistics.median(alone) + 0.005)),
        ("memory of its own", f"{own / 1e6:.0f} MB", "75 MB", _met(own <= 75e6)),
        ("the same after the silent clients", f"{agent.memory()[0] / 1e6:.0f} MB", "", ""),
        ("the same with libraries that others use too", f"{resident / 1e6:.0f} MB", "", ""),
        ("CPU while idle", f"{idle * 100:.2f} %", "0.5 %", _met(idle <= 0.005)),
        ("series; octets of a compressed scrape", f"{agent.series()}; {agent.scrape()}", "", ""),
    ]  # fmt: skip


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:.0f} ms, {max(times) * 1e3:.0f} ms"


def _met(met: bool) -> str:
    return "yes" if met else "no"


async def _measure(directory: Path) -> list[tuple[object, ...]]:
    _prepare(directory)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with _world(directory) as bgpd:
        # structlog imports rich if it is there, which only a tool of the tests brings: 5 MB.
        code = "import sys, runpy; sys.modules['rich'] = None; runpy.run_module('bench.scrape', run_name='__main__')"
        argv = [sys.executable, "-c", code, str(directory), str(bgpd.directory), str(port)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        try:
            assert process.stdout
            await asyncio.to_thread(process.stdout.readline)
            return await asyncio.to_thread(_rows, _Agent(process, port))
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print one table."""
    if not available():
        print("scrape: needs root and FRR")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_measure(Path(folder)))
    print(f"an agent with {PEERS} peers, scraped")
    print(table(("WHAT", "TOOK", "ASKED", "MET"), rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
