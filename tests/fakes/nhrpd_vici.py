"""nhrpd's side of VICI: the commands of FRR's ``nhrpd/vici.c``, and the parts of the events that it reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, Section, encode, sections, text
from fakes.waiting import until

EVENTS = ("child-state-installed", "child-state-rekeyed", "child-state-destroying", "list-sa")


class NhrpdVici:
    """One connection. ``received``: events, each with the CHILD_SA's unique id and the peer's certificate.

    ``remotes``: the NBMA address of the peer of each.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, int, bytes]] = []
        self.remotes: list[str] = []
        self.answers: list[Packet] = []
        self.closed = False

    async def connect(self, path: Path, *, quiet: bool = False) -> None:
        """Connect; ``quiet``: without registering or requesting anything."""
        reader, self._writer = await asyncio.open_unix_connection(path)
        self._reading = asyncio.create_task(self._read(reader))
        if quiet:
            return
        for event in EVENTS:
            self.send(Packet(PacketType.EVENT_REGISTER, event))
        self.request("list-sas")

    async def start(self, path: Path) -> None:
        """Connect, and wait for the answers."""
        await self.connect(path)
        await self.answered()

    async def answered(self) -> None:
        """Wait until the first requests are answered."""
        await until(lambda: len(self.answers) == len(EVENTS) + 1)

    def request(self, command: str, **message: str) -> None:
        self.send(
            Packet(PacketType.CMD_REQUEST, command, {key.replace("_", "-"): value for key, value in message.items()})
        )

    def initiate(self, profile: str, local: str, remote: str, init_limits: str = "1") -> None:
        self.request("initiate", child=profile, timeout="-1", init_limits=init_limits, my_host=local,
                     other_host=remote, **{"async": "1"})  # fmt: skip

    def send(self, packet: Packet) -> None:
        self._writer.write(encode(packet))

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self._writer.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    def events(self, name: str) -> list[int]:
        return [child for event, child, _ in self.received if event == name]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        packets = PacketReader()
        try:
            while data := await reader.read(1 << 16):
                for packet in packets.feed(data):
                    if packet.type is PacketType.EVENT:
                        self._note(packet.name, packet.message)
                    else:
                        self.answers.append(packet)
        except ConnectionError:
            pass
        self.closed = True

    def _note(self, event: str, message: Section) -> None:
        for _, sa in sections(message):
            for _, child in sections(sa.get("child-sas", {})):
                self.received.append((event, int(text(child, "uniqueid")), sa.get("remote-cert-data", b"")))
                self.remotes.append(text(sa, "remote-host"))


@asynccontextmanager
async def nhrpd_at(path: Path) -> AsyncIterator[NhrpdVici]:
    """Connect nhrpd to charon or to the bridge."""
    nhrpd = NhrpdVici()
    await nhrpd.connect(path)
    try:
        await nhrpd.answered()
        yield nhrpd
    finally:
        await nhrpd.close()
