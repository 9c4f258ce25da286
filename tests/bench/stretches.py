"""How long the agent's event loop is busy in one stretch, with a thousand peers: answers to nhrpd wait for as long.

The whole agent runs here; bgpd is the real one, charon and nhrpd's command line are a process of their own. Each
callback of the loop is timed, by the clock and by the CPU time of the loop's thread, so that what the machine does
besides is measured apart from the agent's work.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from asyncio import events
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from bench.network import LARGE, address, units
from bench.sas import quick_charon
from contract.frr import RealBgpd, available
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.app import AgentApp
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.config.file import load
from dmvpn_agent.frr.nhrp_cache import CACHE_COMMANDS
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.control_client import read_status
from dmvpn_agent.runtime.garbage import search_seldom, spare_present_objects
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import NOW, der, event, request
from fakes.charon import FakeSa
from fakes.vty_server import VtyServer, reply
from fakes.waiting import running, until

PEERS = 1000
LIMIT = 0.05
CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/vici"
[policy]
tunnel_networks = ["10.0.0.0/16"]
allowed_networks = ["10.128.0.0/9"]
[bgp]
as_number = 65000
transport = "vty"
[redirect]
enabled = false
[frr]
vty_directory = "{frr}"
vtysh = "{frr}/vtysh"
[metrics]
listen = "127.0.0.1:{port}"
"""
PORT = 19342


def nbma(number: int) -> IPv4Address:
    """Return a spoke's NBMA address."""
    return IPv4Address("198.18.0.1") + number


def _identity(number: int) -> str:
    return ", ".join((*(f"OU={unit}" for unit in units(number)), f"CN=spoke{number}"))


@dataclass(slots=True)
class Stretch:
    """The longest callback: seconds by the clock and of CPU, and what it was."""

    wall: float = 0
    cpu: float = 0
    what: str = ""


class Stopwatch:
    """Times each callback of the loop."""

    def __init__(self) -> None:
        self.longest = Stretch()
        self._loop = asyncio.get_running_loop()  # the metrics are served by a loop and a thread of their own

    @contextmanager
    def watching(self) -> Iterator[None]:
        run = events.Handle._run

        def timed(handle: events.Handle) -> None:
            if handle._loop is not self._loop:  # type: ignore[attr-defined]
                run(handle)
                return
            what = _name(handle._callback)  # type: ignore[attr-defined]
            wall, cpu = time.perf_counter(), time.thread_time()
            run(handle)
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            if cpu > self.longest.cpu:
                self.longest = Stretch(max(wall, self.longest.wall), cpu, what)
            self.longest.wall = max(self.longest.wall, wall)

        events.Handle._run = timed  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            events.Handle._run = run  # type: ignore[method-assign]


def _sa(number: int) -> FakeSa:
    children = {number + 1: "INSTALLED"}
    return FakeSa(number + 1, str(nbma(number)), _identity(number), spi=f"{number + 1:016x}", children=children)


async def _surroundings(directory: Path, frr: Path) -> None:
    """Play charon and nhrpd's command line."""
    charon = quick_charon(directory / "vici", map(_sa, range(PEERS)))
    rows = [
        {"interface": "gre1", "type": "dynamic", "protocol": str(address(number)), "nbma": str(nbma(number))}
        for number in range(PEERS)
    ]
    cache, empty = (reply(json.dumps({"attr": {}, "table": table}, indent=2)) for table in (rows, []))
    await charon.start()
    async with VtyServer(frr, lambda command: cache if command == CACHE_COMMANDS[4] else empty, "nhrpd"):
        print("ready", flush=True)
        await asyncio.Event().wait()


def _request(number: int) -> BindingRequest:
    certificate = read_certificate(der.__wrapped__(units(number), name=f"spoke{number}"))
    return request(protocol_address=address(number), nbma_address=nbma(number), certificate=certificate)


def _prepare(directory: Path) -> None:
    """Have the stored peers of an earlier run, and the bridge's certificates."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    agent, bridge = (
        Store(directory / "agent.sqlite", PeerTable.TABLE),
        Store(directory / "bridge.sqlite", CertificateTable.TABLE),
    )
    agent.open()
    bridge.open()
    questions = bytearray()
    for number in range(PEERS):
        asked = _request(number)
        der_hex = asked.certificate.der.hex()  # type: ignore[union-attr]
        ends = {"remote_addr": str(address(number)), "remote_nbma": str(nbma(number)), "vc_initiated": "no"}
        questions += event(number + 1, der_hex, **ends)
        PeerTable(agent).save(asked)
        spi = f"{number + 1:016x}"
        CertificateTable(bridge).save(f"{spi}:{spi[::-1]}", b"", asked.certificate.der)  # type: ignore[union-attr]
    agent.close()
    bridge.close()
    (directory / "questions").write_bytes(questions)


@asynccontextmanager
async def _world(directory: Path) -> AsyncIterator[RealBgpd]:
    bgpd = RealBgpd()
    bgpd.start()
    argv = [sys.executable, "-m", "bench.stretches", str(directory), str(bgpd.directory)]
    around = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert around.stdout
        await asyncio.to_thread(around.stdout.readline)
        yield bgpd
    finally:
        around.kill()
        around.wait()
        bgpd.stop()


class Bench:
    """The agent and its rows of figures."""

    def __init__(self, app: AgentApp) -> None:
        self.app = app
        self.stopwatch = Stopwatch()
        self.rows: list[tuple[object, ...]] = []

    async def during(self, what: str, work: Callable[[], Awaitable[object]], *, nhrpd_waits: bool = True) -> None:
        await asyncio.sleep(0)  # what was before is another callback
        self.stopwatch.longest = Stretch()
        await work()
        await asyncio.sleep(0)
        longest = self.stopwatch.longest
        self.rows.append(
            (what, f"{longest.cpu * 1e3:.0f} ms", f"{longest.wall * 1e3:.0f} ms",
             "yes" if longest.cpu <= LIMIT else "no" if nhrpd_waits else "", longest.what)
        )  # fmt: skip


def _name(callback: object) -> str:
    """Return which task goes on, by its part's name, or what is called."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", ""))
    name = task.get_name()
    return str(getattr(task.get_coro(), "__qualname__", name)) if name.startswith("Task-") else f"part {name}"


async def _measure(directory: Path) -> list[tuple[object, ...]]:
    _prepare(directory)
    async with _world(directory) as bgpd:
        file = directory / "agent.toml"
        file.write_text(CONFIG.format(directory=directory, frr=bgpd.directory, port=PORT))
        app = AgentApp(replace(load(file), policy=LARGE), clocks=Clocks(now=lambda: NOW))
        bench = Bench(app)
        with bench.stopwatch.watching():
            await bench.during("start with the stored peers, before nhrpd is served", app.start, nhrpd_waits=False)
            search_seldom()
            spare_present_objects()
            try:
                async with running(app.run()):
                    await _activities(bench, directory)
            finally:
                await app.stop()
    return bench.rows


async def _activities(bench: Bench, directory: Path) -> None:
    app, keeper = bench.app, bench.app.components.bgp.reconciler
    assert keeper is not None

    async def configured() -> None:
        await until(lambda: keeper.last_sync and len(keeper.neighbors() or ()) == PEERS)
        await until(lambda: app.components.charon.watch.connected and app.components.admission.bindings.last_read)

    async def looked() -> None:
        for _ in range(3):
            await app.components.charon.watch.refresh()

    async def judged() -> None:
        for _ in range(3):
            await app.components.admission.reauthorizer.rejudge()

    async def read() -> None:
        for _ in range(3):
            await app.components.admission.bindings.refresh()

    async def passed() -> None:
        for _ in range(3):
            await keeper._pass()

    async def answered() -> None:
        reader, writer = await asyncio.open_unix_connection(directory / "nhrp.sock")
        writer.write((directory / "questions").read_bytes())
        for _ in range(PEERS):
            await reader.readuntil(b"\n\n")
        writer.close()

    async def shown() -> None:
        for _ in range(3):
            await read_status(directory / "control.sock")

    async def scraped() -> None:
        for _ in range(3):
            await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics").read())

    async def enforced() -> None:
        for _ in range(3):
            await app.components.enforcement.enforcer.enforce()
            await app.components.enforcement.registrations.check()
            app.components.enforcement.teardown.check()

    assert len(app.components.admission.peers) == PEERS
    await bench.during("first passes: charon, nhrpd's cache, 1,000 neighbors written", configured)
    await bench.during("a refresh of charon's IKE_SAs", looked)
    await bench.during("all peers judged again", judged)
    await bench.during("nhrpd's cache read", read)
    await bench.during("a pass of the reconciler", passed)
    await bench.during(f"{PEERS} questions answered", answered)
    await bench.during("status", shown)
    await bench.during("a scrape of the metrics", scraped)
    await bench.during("enforcing, unbound, departures", enforced)


def main() -> None:
    """Measure and print one table."""
    if not available():
        print("stretches: needs root and FRR")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_measure(Path(folder)))
    print(f"the agent's event loop at {PEERS} peers: the longest stretch, asked: {LIMIT * 1e3:.0f} ms")
    print(table(("DURING", "CPU", "BY THE CLOCK", "MET", "IN"), rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_surroundings(Path(sys.argv[1]), Path(sys.argv[2])))
    else:
        main()
