"""How the agent learns from the bridge which certificate an IKE_SA has."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.bridge_process import BridgeProcess
from contract.bridge_stand import NAME, Stand, spoke, stand
from dmvpn_agent.bridge import bridge_certificates as module
from dmvpn_agent.bridge import verdict_messages
from dmvpn_agent.bridge.bridge_certificates import BridgeCertificates
from dmvpn_agent.bridge.certificate_table import CertificateFile, CertificateTable
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, encode
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import der
from fakes.charon import FakeCharon, FakeSa
from fakes.stored import rows_on_disk
from fakes.waiting import until

__all__ = ["stand"]

STRANGER = "CN=stranger"


def _of(stand: Stand, telemetry: Telemetry, file: str = "bridge.sqlite") -> BridgeCertificates:
    return BridgeCertificates(stand.folder / file, stand.listen, telemetry)


def _stored(folder: Path) -> None:
    """Have the bridge's file say that the IKE_SA ``1:2`` has a certificate."""
    store = Store(folder / "bridge.sqlite", CertificateTable.TABLE)
    store.open()
    CertificateTable(store).save("1:2", b"", der())
    store.close()


@asynccontextmanager
async def _answering(path: Path, *answers: PacketType) -> AsyncIterator[list[int]]:
    """Have something listen at a path that gives these answers, then none; yields its connections."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        packets, left = PacketReader(), list(answers)
        while data := await reader.read(4096):
            for _ in packets.feed(data):
                if left:
                    writer.write(encode(Packet(left.pop(0))))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield connections
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the file not given up while the machine is busy."""
    monkeypatch.setattr(module, "FILE_TIMEOUT", 30.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the agent wait for long: the machine may be busy."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 30.0)


@pytest.mark.usefixtures("patient")
async def test_the_bridge_says_what_it_has_in_memory(stand: Stand, telemetry: Telemetry) -> None:
    """Without a file, as on a full disk; of an IKE_SA that it has not looked at it says nothing."""
    async with stand.bridged():
        await until(lambda: stand.bridge.ready)
        stand.charon.up(spoke())
        stand.charon.up(FakeSa(2, "203.0.113.3", STRANGER, children={20: "INSTALLED"}))
        await until(lambda: len(stand.bridge.circuits.announced) == 2)
        spis = {sa.remote_id: sa.spis for sa, _ in stand.bridge.circuits.announced.values()}
        asked = _of(stand, telemetry, "no-file")
        assert await asked.load([*spis.values(), "5:6"]) == {spis[NAME]: der(), spis[STRANGER]: b""}
        assert telemetry.value(metrics.CERTIFICATE_READS, "bridge") == 1


@pytest.mark.usefixtures("patient")
async def test_a_thousand_peers_at_once_are_one_connection(stand: Stand, telemetry: Telemetry) -> None:
    """Requests of a thousand IKE_SAs, events that do not fit the socket's buffer: nothing is left out."""
    async with stand.bridged():
        await until(lambda: stand.bridge.ready)
        for number in range(2500):
            stand.bridge._certificates._known.keep(f"{number}:1", (b"", b"%d" % number * 400))
        known = [f"{number}:1" for number in range(2500)]
        found = await _of(stand, telemetry).load([*known, "5:6"])
        assert (len(found), found["7:1"]) == (2500, b"7" * 400)


@pytest.mark.parametrize("spis", ["1:2", {"a": "b"}, [b"\xff"], []])
async def test_a_request_that_makes_no_sense_is_answered(stand: Stand, spis: Any) -> None:
    """Whoever may open the socket may send what it likes."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.send(Packet(PacketType.EVENT_REGISTER, verdict_messages.EVENT))
        nhrpd.send(Packet(PacketType.CMD_REQUEST, verdict_messages.COMMAND, {"sas": spis}))
        await until(lambda: len(nhrpd.answers) == 7)
        assert nhrpd.answers[6].type is PacketType.CMD_RESPONSE


async def test_without_the_bridge_its_file_is_read(
    tmp_path: Path, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """It has stopped for a moment; that is logged once."""
    asked = BridgeCertificates(tmp_path / "bridge.sqlite", tmp_path / "charon.vici", telemetry)
    assert await asked.load(["1:2"]) == {}
    _stored(tmp_path)
    assert await asked.load(["1:2"]) == {"1:2": der()}
    assert [telemetry.value(metrics.CERTIFICATE_READS, one) for one in ("bridge", "file", "none")] == [0, 1, 1]
    assert [entry["event"] for entry in logs] == ["bridge_not_asked"]


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (PacketType.EVENT_UNKNOWN,),
        (PacketType.EVENT_CONFIRM, PacketType.CMD_UNKNOWN),
        (PacketType.CMD_RESPONSE, PacketType.EVENT_CONFIRM),
    ],
    ids=["hangs", "an older version", "no such command", "nonsense"],
)
async def test_a_bridge_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, answers: tuple[PacketType, ...]
) -> None:
    """Its file counts; soon it is asked again, and not at each read."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.1)
    monkeypatch.setattr(module, "FIRST_RETRY", 60.0)
    monkeypatch.setattr(module, "LONGEST_RETRY", 60.0)
    _stored(tmp_path)
    async with _answering(tmp_path / "charon.vici", *answers) as connections:
        asked = BridgeCertificates(tmp_path / "bridge.sqlite", tmp_path / "charon.vici", telemetry)
        assert await asked.load(["1:2"]) == {"1:2": der()}
        assert (await asked.load(["1:2"]), len(connections)) == ({"1:2": der()}, 1)


async def test_a_disk_that_hangs_occupies_one_thread(
    tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bridge, once it is back, is asked all the same."""
    monkeypatch.setattr(module, "FILE_TIMEOUT", 0.02)
    readable, reads = threading.Event(), []

    def hang(*_: object) -> dict[str, bytes]:
        reads.append(1)
        readable.wait(30)
        return {}

    monkeypatch.setattr(CertificateFile, "load", hang)
    asked = BridgeCertificates(tmp_path / "bridge.sqlite", tmp_path / "charon.vici", telemetry)
    for _ in range(3):
        assert await asked.load(["1:2"]) == {}
    assert len(reads) == 1
    readable.set()


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[BridgeProcess]:
    charon = FakeCharon(tmp_path / "real.vici")
    charon.certificates = [der()]
    await charon.start()
    bridge = BridgeProcess(tmp_path)
    await bridge.start()
    charon.up(spoke())
    yield bridge
    bridge.kill()
    await charon.stop()


@pytest.mark.parametrize("ends", [True, False], ids=["killed while it is asked", "stopped"])
async def test_a_bridge_process_that_fails_in_the_middle(
    bridge: BridgeProcess, tmp_path: Path, telemetry: Telemetry, *, ends: bool
) -> None:
    """The answer comes from its file; a stopped one that goes on is asked again."""
    spis, file = f"{1:016x}:{f'{1:016x}'[::-1]}", tmp_path / "bridge.sqlite"
    await until(lambda: rows_on_disk(file, CertificateTable.TABLE))
    asked = BridgeCertificates(tmp_path / "no-file", bridge.listen, telemetry)
    while not await asked.load([spis]):
        await asyncio.sleep(0.05)
    bridge.signal(signal.SIGSTOP)
    asking = asyncio.create_task(BridgeCertificates(file, bridge.listen, telemetry).load([spis]))
    if ends:
        await asyncio.sleep(0)
        bridge.kill()
    assert await asking == {spis: der()}
    if not ends:
        assert await asked.load([spis]) == {}
        bridge.signal(signal.SIGCONT)
        while not await asked.load([spis]):
            await asyncio.sleep(0.05)
