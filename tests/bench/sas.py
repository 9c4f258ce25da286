"""A thousand IKE_SAs with a CHILD_SA each: a resync over a socket from another process, and their cost in memory."""

import asyncio
import gc
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.sa_totals import SaTotals
from dmvpn_agent.charon.vici import Packet, PacketType, encode
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.table import table
from fakes.charon import FakeCharon, FakeSa

SAS = 1000
ROUNDS = 10
IDENTITY = (
    "C=FI, O=Example, OU=GRE=10.255.{high}.{low}, OU=AS={number}, OU=NET=172.{high}.{low}.0/24, CN=spoke{number}"
)


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def quick_charon(path: Path, sas: Iterable[FakeSa]) -> FakeCharon:
    """Return a charon that has its lists ready, as it is the reader that is measured; every other one shows more."""

    class QuickCharon(FakeCharon):
        """In every other list each SA has carried more."""

        lists: Iterator[bytes]

        def _command(self, packet: Packet, writer: asyncio.StreamWriter) -> Packet:
            if packet.name != "list-sas" or packet.message:
                return super()._command(packet, writer)
            writer.write(next(self.lists))
            return Packet(PacketType.CMD_RESPONSE)

        def listed(self, more: int) -> bytes:
            for sa in self.sas.values():
                sa.traffic = {sa.unique_id: (123_456_789 + more, 123_456, 987_654_321, 654_321)}
            events = (Packet(PacketType.EVENT, "list-sa", {sa.name: sa.section()}) for sa in self.sas.values())
            return b"".join(map(encode, events))

    charon = QuickCharon(path)
    charon.sas = {sa.unique_id: sa for sa in sas}
    charon.lists = itertools.cycle([charon.listed(0), charon.listed(1)])
    return charon


def _spoke(number: int) -> FakeSa:
    high, low = divmod(number, 250)
    identity = IDENTITY.format(high=high + 16, low=low, number=64512 + number)
    return FakeSa(
        number + 1, f"198.18.{high}.{low + 1}", identity, spi=f"{number + 1:016x}", children={number + 1: "INSTALLED"}
    )


async def _serve(path: Path) -> None:
    charon = quick_charon(path, map(_spoke, range(SAS)))
    await charon.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _measure(path: Path) -> list[tuple[object, ...]]:
    wall, spent = [], []
    async with ViciCharon(path, Telemetry()).session() as session:
        totals, kept = SaTotals(), list[IkeSa]()
        totals.update(await list_sas(session, ike_id=1))
        before = _resident()
        for _ in range(ROUNDS):
            began, cpu = time.perf_counter(), time.process_time()
            kept = await list_sas(session, utc_now, {sa.unique_id: sa for sa in kept})
            totals.update(kept)
            wall.append(time.perf_counter() - began)
            spent.append(time.process_time() - cpu)
        if len(kept) != SAS or len(totals.traffic()) != SAS:
            raise SystemExit(f"{len(kept)} of {SAS} SAs were read")
        grown = (_resident() - before) / SAS
        del kept, totals
        tracemalloc.start()
        totals = SaTotals()
        kept = await list_sas(session)
        totals.update(kept)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] / SAS
        tracemalloc.stop()
    resync = statistics.median(wall)
    return [
        (f"a resync, median of {ROUNDS}", f"{resync * 1e3:.0f} ms", "250 ms", "yes" if resync <= 0.25 else "no"),
        ("the same, fastest and slowest", f"{min(wall) * 1e3:.0f} ms, {max(wall) * 1e3:.0f} ms", "", ""),
        ("the same, own CPU", f"{statistics.median(spent) * 1e3:.0f} ms", "", ""),
        ("memory held an SA between two looks", f"{held:.0f} bytes", "4096 bytes", "yes" if held <= 4096 else "no"),
        ("memory per SA: the process, with two refreshes at once", f"{grown:.0f} bytes", "4096 bytes",
         "yes" if grown <= 4096 else "no"),
    ]  # fmt: skip


def main() -> None:
    """Measure and print one table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "charon.vici"
        server = subprocess.Popen([sys.executable, "-m", "bench.sas", str(path)], stdout=subprocess.PIPE)
        try:
            assert server.stdout
            server.stdout.readline()
            rows = asyncio.run(_measure(path))
        finally:
            server.kill()
            server.wait()
    print(f"{SAS} IKE_SAs with a CHILD_SA each from a fake charon in a process of its own, {ROUNDS} resyncs")
    print(table(("WHAT", "TOOK", "ASKED", "MET"), rows))


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
