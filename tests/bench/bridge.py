"""The bridge as a process between nhrpd's part and a real charon with a thousand spokes, which another one plays."""

import asyncio
import os
import statistics
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from contract.agent import Agent
from contract.bridge.test_many_spokes import CONFIG
from contract.charon_network import Network, address
from contract.charons import CHARON, available
from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, encode, text
from dmvpn_agent.view.table import table
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

SPOKES = 1000
EVENTS = 100
IDLE_SECONDS = 31.0  # at least one resync
_TICKS = os.sysconf("SC_CLK_TCK")


class Stopwatch(NhrpdVici):
    """nhrpd's part, which notes when it received each new CHILD_SA."""

    def __init__(self) -> None:
        super().__init__()
        self.when: dict[int, float] = {}

    def _note(self, event: str, message: object) -> None:
        super()._note(event, message)  # type: ignore[arg-type]
        if event == "child-state-installed":
            self.when.setdefault(self.received[-1][1], time.perf_counter())


class Direct:
    """A client of charon itself, which notes when it received each new CHILD_SA."""

    async def connect(self, path: Path) -> None:
        self.when: dict[int, float] = {}
        reader, self._writer = await asyncio.open_unix_connection(path)
        self._writer.write(encode(Packet(PacketType.EVENT_REGISTER, "child-updown")))
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        packets = PacketReader()
        while data := await reader.read(1 << 16):
            now = time.perf_counter()
            for packet in packets.feed(data):
                if packet.type is PacketType.EVENT and text(packet.message, "up") == "yes":
                    sa = next(value for value in packet.message.values() if isinstance(value, dict))
                    for child in sa["child-sas"].values():
                        self.when[int(text(child, "uniqueid"))] = now


def _told(nhrpd: Stopwatch, count: int) -> bool:
    return len(nhrpd.when) == count


def _memory(pid: int) -> int:
    """Return the bytes that a process has for itself."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _began(processes: Agent, name: str) -> datetime:
    return datetime.fromisoformat(processes.events(name)[-1]["timestamp"])


async def _measure(folder: Path) -> list[tuple[object, ...]]:
    network = Network(folder, SPOKES)
    processes = Agent(folder, CONFIG)
    (folder / "ca.pem").write_bytes(network.ca_pem)
    try:
        await network.start()
        bridge = processes.start(command="bridge")
        processes.wait_for("bridge_ready")
        nhrpd, direct = Stopwatch(), Direct()
        await direct.connect(network.hub.path)
        await nhrpd.start(folder / "charon.vici")
        empty, before = _memory(bridge.pid), 0.0
        for number in range(SPOKES):
            if number == SPOKES - EVENTS:
                before = _cpu(bridge.pid)
            await network.initiate([address(number)])
            await until(partial(_told, nhrpd, number + 1))
        spent = (_cpu(bridge.pid) - before) / EVENTS
        await until(lambda: direct.when.keys() >= nhrpd.when.keys())
        last = sorted(nhrpd.when)[-EVENTS:]
        added = [(nhrpd.when[child] - direct.when[child]) * 1e3 for child in last]
        missed = sum(not certificate for name, _, certificate in nhrpd.received if name == "child-state-installed")
        grown = (_memory(bridge.pid) - empty) / SPOKES
        before = _cpu(bridge.pid)
        await asyncio.sleep(IDLE_SECONDS)
        idle = (_cpu(bridge.pid) - before) / IDLE_SECONDS
        processes.kill()
        processes.start(command="bridge")
        processes.wait_for("bridge_ready", 2)
        resync = (_began(processes, "bridge_ready") - _began(processes, "bridge_listening")).total_seconds()
    finally:
        processes.kill()
        network.stop()
    certificate = statistics.mean(map(len, network.certificates.values()))
    memory = grown - certificate
    median = statistics.median(added)
    return [
        (f"an event, added by the bridge, median of the last {EVENTS}", f"{median:.1f} ms", "2 ms", _met(median, 2)),
        (f"the same, slowest of {EVENTS}", f"{max(added):.1f} ms", "", ""),
        ("the same, CPU of the bridge", f"{spent * 1e3:.1f} ms", "", ""),
        ("started again: all SAs read, nhrpd can be served", f"{resync * 1e3:.0f} ms", "250 ms", _met(resync, 0.25)),
        (f"memory an SA beside its certificate ({certificate:.0f} bytes)", f"{memory:.0f} bytes", "4096 bytes",
         _met(memory, 4096)),
        (f"CPU while nothing happens, {IDLE_SECONDS:.0f} s", f"{idle:.1%}", "", ""),
        ("SAs that came one after another and got no certificate", missed, "0", _met(missed, 0)),
    ]  # fmt: skip


def _met(figure: float, asked: float) -> str:
    return "yes" if figure <= asked else "no"


def main() -> None:
    """Measure and print one table."""
    if not available(sas=True):
        print("bridge: needs root and a charon with kernel-libipsec (Debian: libcharon-extra-plugins)")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_measure(Path(folder)))
    print(f"the bridge with {SPOKES} SAs of a real charon ({CHARON}, kernel-libipsec), {os.cpu_count()} CPUs")
    print("added: from charon's own event about a CHILD_SA until nhrpd has it; about 0: as soon")
    print(table(("WHAT", "TOOK", "ASKED", "MET"), rows))


if __name__ == "__main__":
    main()
