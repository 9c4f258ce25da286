"""Records what a patched charon tells: ``CHARON=… python -m contract.record_vici FOLDER``.

Needs ``tests`` and ``deploy/lab`` on PYTHONPATH. The client asks for what nhrpd and the watcher ask for, and for all
SAs after each event. The peer is another real charon; what happens is had of it by its own commands.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from contract.charon_network import HUB, Network, address
from dmvpn_agent.charon.events import SA_EVENTS
from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, encode
from fakes.nhrpd_vici import EVENTS
from fakes.transcript import Line, dump
from fakes.waiting import until

#: Seconds without an event after which nothing more is expected.
QUIET = 1.0


class Recorder:
    """One connection to charon, all of it kept."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.closed = False
        self._asked, self._stale = True, False
        self._began = time.monotonic()

    async def connect(self, path: Path) -> None:
        reader, self._writer = await asyncio.open_unix_connection(path)
        self._reading = asyncio.create_task(self._read(reader))
        for event in (*EVENTS, *SA_EVENTS):
            self.send(Packet(PacketType.EVENT_REGISTER, event))
        self.request("list-sas")

    def request(self, command: str, **message: str) -> None:
        keys = {key.replace("_", "-"): value for key, value in message.items()}
        self.send(Packet(PacketType.CMD_REQUEST, command, keys))

    def send(self, packet: Packet) -> None:
        self._keep("client", packet)
        self._writer.write(encode(packet))

    def seen(self, event: str) -> int:
        return sum(line.packet.name == event and line.packet.type is PacketType.EVENT for line in self.lines)

    async def quiet(self) -> None:
        """Wait until nothing came for a while."""
        count = -1
        while count != len(self.lines):
            count = len(self.lines)
            await asyncio.sleep(QUIET)

    def _keep(self, sender: str, packet: Packet) -> None:
        self.lines.append(Line(time.monotonic() - self._began, sender, packet))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        packets = PacketReader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for packet in packets.feed(data):
                    self._keep("charon", packet)
                    self._look_again(packet)
        self.closed = True

    def _look_again(self, packet: Packet) -> None:
        """Ask for all SAs after an event, one question at a time."""
        if packet.type is PacketType.CMD_RESPONSE and not packet.message:
            self._asked = False
        elif packet.type is PacketType.EVENT and packet.name != "list-sa":
            self._stale = True
        if self._stale and not self._asked:
            self._asked, self._stale = True, False
            self.request("list-sas")


@asynccontextmanager
async def _up(recorder: Recorder, network: Network) -> AsyncIterator[None]:
    await network.initiate([address(0)])
    await until(lambda: recorder.seen("child-state-installed"))
    await recorder.quiet()
    yield
    await recorder.quiet()


async def _comes(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        pass


async def _child_rekey(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        await network.ask_spoke("rekey", address(0), child="dmvpn")
        await until(lambda: recorder.seen("child-state-destroying"))


async def _ike_rekey(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        await network.ask_spoke("rekey", address(0))


async def _reauth(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        await network.ask_spoke("rekey", address(0), reauth="yes")


async def _deleted(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        await network.ask_spoke("terminate", address(0))


async def _dies(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        network.spokes.kill()
        await until(lambda: recorder.seen("child-state-destroying"))


async def _killed(recorder: Recorder, network: Network) -> None:
    async with _up(recorder, network):
        network.hub.kill()
        await until(lambda: recorder.closed)


def _initiate(recorder: Recorder) -> None:
    recorder.request("initiate", child="dmvpn", timeout="-1", init_limits="1", my_host=str(HUB),
                     other_host=str(address(0)), **{"async": "1"})  # fmt: skip


async def _commands(recorder: Recorder, network: Network) -> None:
    _initiate(recorder)
    await until(lambda: recorder.seen("child-state-installed"))
    await recorder.quiet()
    recorder.request("terminate", ike_id="1")
    await until(lambda: recorder.seen("child-state-destroying"))
    await recorder.quiet()


async def _both(recorder: Recorder, network: Network) -> None:
    _initiate(recorder)
    await network.initiate([address(0)])
    await until(lambda: recorder.seen("child-state-installed") > 1)
    await recorder.quiet()


_NOT_BEFORE_BREAK = "make_before_break = no"
SCENARIOS: dict[str, tuple[Callable[[Recorder, Network], Awaitable[None]], str]] = {
    "peer-comes": (_comes, ""),
    "child-rekey": (_child_rekey, ""),
    "ike-rekey": (_ike_rekey, ""),
    "reauth": (_reauth, "make_before_break = yes"),
    "reauth-break-before-make": (_reauth, _NOT_BEFORE_BREAK),
    "both-initiate": (_both, ""),
    "initiate-terminate": (_commands, ""),
    "peer-deletes": (_deleted, ""),
    "peer-dies": (_dies, "retransmit_tries = 1\n    retransmit_timeout = 0.5"),
    "charon-killed": (_killed, ""),
}


async def record(name: str, target: Path) -> None:
    """Record one scenario into a file of its name."""
    scenario, settings = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as folder:
        network = Network(Path(folder), 1, settings, dpd_delay="1s")
        try:
            await network.start()
            recorder = Recorder()
            await recorder.connect(network.hub.path)
            await scenario(recorder, network)
            (target / f"{name}.jsonl").write_text(dump(recorder.lines))
        finally:
            network.stop()


def main() -> None:
    """Record all."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name in SCENARIOS:
        asyncio.run(record(name, target))
        print(name)


if __name__ == "__main__":
    main()
