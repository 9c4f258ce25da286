"""What a scrape costs an agent with a thousand peers, each with an IKE_SA and a CHILD_SA: CPU, delay, memory.

The agent is a process of its own, with the real bgpd; charon and nhrpd's command line are another.
"""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

from bench.stretches import CONFIG, PEERS, _prepare, _world
from contract.frr import available
from dmvpn_agent.admission.reauthorizer import SETTLING
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.view.table import table
from factories import NOW

SCRAPES = 100
SILENT = 1000
#: Seconds. charon's SAs are listed and the peers joined each minute.
IDLE = 120.0
_TICK = os.sysconf("SC_CLK_TCK")


class _Agent:
    """The agent's process, seen from outside."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, config: Path) -> None:
        self.process = process
        self.port = port
        self._config = config

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

    def commands(self) -> list[float]:
        """Return how long each of nine `dmvpn-agent peers` took, from its start to its end."""
        found = []
        argv = [sys.executable, "-m", "dmvpn_agent.cli", "peers", "--config", str(self._config)]
        for _ in range(9):
            began = time.perf_counter()
            done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
            found.append(time.perf_counter() - began)
            assert done.returncode in {Exit.HEALTHY, Exit.DEGRADED}
        return found

    def times(self) -> list[float]:
        """Return how long each of a hundred scrapes took, one after another."""
        found = []
        for _ in range(SCRAPES):
            began = time.perf_counter()
            self.scrape()
            found.append(time.perf_counter() - began)
        return found


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
    listed = agent.commands()
    return [
        ("CPU of a scrape (OpenMetrics, gzip)", f"{spent * 1e3:.0f} ms", "60 ms", _met(spent <= 0.06)),
        ("delay of the event loop by a scrape", f"{delays[10] * 1e3:.1f} ms", "15 ms", _met(delays[10] <= 0.015)),
        ("the same: longest of 21; without a scrape", f"{delays[-1] * 1e3:.1f} ms; {quiet * 1e3:.1f} ms", "", ""),
        (f"{SCRAPES} scrapes: median, longest", _spread(alone), "", ""),
        (f"the same beside {SILENT} silent clients", _spread(beside), "as above",
         _met(statistics.median(beside) < 1.2 * statistics.median(alone) + 0.005)),
        ("`dmvpn-agent peers`: median, longest", _spread(listed), "300 ms", _met(statistics.median(listed) <= 0.3)),
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
        file = directory / "agent.toml"
        file.write_text(CONFIG.format(directory=directory, frr=bgpd.directory, port=port))
        # structlog imports rich if it is there, which only a tool of the tests brings: 5 MB.
        module = "runpy.run_module('bench.scraped_agent', run_name='__main__')"
        code = f"import sys, runpy; sys.modules['rich'] = None; {module}"
        argv = [sys.executable, "-c", code, str(file), NOW.isoformat(), str(PEERS)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        try:
            assert process.stdout
            await asyncio.to_thread(process.stdout.readline)
            return await asyncio.to_thread(_rows, _Agent(process, port, file))
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
    main()
