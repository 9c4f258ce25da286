"""Native mode: recordings of a charon with Alpine's patches, replayed to nhrpd's VICI client and to the agent.

The bridge receives the same recordings without what the patches add, and has to announce the same to nhrpd.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
import structlog

from contract.bridge_stand import Stand
from contract.watched import watched
from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.sa import circuits
from dmvpn_agent.charon.vici import PacketType
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate_reader import read_certificate
from fakes.nhrpd_vici import NhrpdVici
from fakes.recorded_charon import RecordedCharon, installed
from fakes.transcript import dump, load
from fakes.waiting import until

pytestmark = pytest.mark.contract

RECORDINGS = Path(__file__).parents[2] / "data/strongswan-6.0.4-patched"
ALL = sorted(file.stem for file in RECORDINGS.glob("*.jsonl"))
#: In these a usable CHILD_SA always remains once the first one is up; in the others the last one goes.
KEPT = ["both-initiate", "charon-killed", "child-rekey", "ike-rekey", "peer-comes", "reauth"]
SPOKE = "198.18.1.1"
INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


def _recording(name: str) -> Path:
    return RECORDINGS / f"{name}.jsonl"


class Circuits:
    """nhrpd's CHILD_SAs, each with the peer's address and certificate."""

    def __init__(self, nhrpd: NhrpdVici) -> None:
        self.held: dict[int, tuple[str, bytes]] = {}
        self.lost_all = 0
        for (event, child, certificate), remote in zip(nhrpd.received, nhrpd.remotes, strict=True):
            if event == DESTROYING:
                self.held.pop(child, None)
                self.lost_all += not self.held
            else:
                self.held[child] = (remote, certificate)

    @property
    def remotes(self) -> dict[int, str]:
        return {child: remote for child, (remote, _) in self.held.items()}


@asynccontextmanager
async def _charon(name: str, path: Path) -> AsyncIterator[RecordedCharon]:
    charon = RecordedCharon(path, _recording(name))
    await charon.start()
    yield charon
    await charon.stop()


async def _native(name: str, folder: Path) -> tuple[Circuits, RecordedCharon]:
    """Play a recording to nhrpd's client."""
    async with _charon(name, folder / "charon.vici") as charon:
        nhrpd = NhrpdVici()
        await nhrpd.start(charon.path)
        while not charon.finished:
            charon.step()
        nhrpd.request("version")
        await until(lambda: len(nhrpd.answers) == 6)
        await nhrpd.close()
        return Circuits(nhrpd), charon


async def _bridged(name: str, stand: Stand) -> Circuits:
    """Play a recording to the bridge, one state of charon after the other."""
    charon = RecordedCharon(stand.charon.path, _recording(name), patched=False)
    stand.charon = charon
    await charon.start()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        while not charon.finished:
            if charon.step() == "list-sas":
                for sa in charon.sas.values():
                    charon.raise_event("ike-update", {sa.name: sa.section()})
                await until(lambda: Circuits(nhrpd).remotes == installed(charon))
        announced = Circuits(nhrpd)
    await charon.stop()
    return announced


@pytest.mark.parametrize("name", ALL)
def test_a_recording_survives_reading_and_writing(name: str) -> None:
    """The tests use exactly what came over the socket."""
    assert dump(load(_recording(name))) == _recording(name).read_text()


@pytest.mark.parametrize("name", ALL)
async def test_a_patched_charon_announces_its_child_sas(name: str, tmp_path: Path) -> None:
    """At the end nhrpd has all usable CHILD_SAs with the peer's certificate."""
    announced, charon = await _native(name, tmp_path)
    assert announced.remotes == installed(charon)
    assert set(announced.remotes.values()) == ({SPOKE} if name in KEPT or "reauth" in name else set())
    for _, certificate in announced.held.values():
        assert "CN=spoke0" in str(read_certificate(certificate))


@pytest.mark.parametrize("name", ALL)
async def test_nhrpd_has_no_circuit_only_if_charon_had_none(name: str, tmp_path: Path) -> None:
    """Rekeying and make-before-break leave a circuit at all times."""
    announced, _ = await _native(name, tmp_path)
    assert announced.lost_all == (0 if name in KEPT else 1)


@pytest.mark.parametrize("name", ALL)
async def test_the_bridge_announces_the_same_for_an_unpatched_charon(name: str, tmp_path: Path) -> None:
    """At the end the circuits and certificates are the same, and the last circuit went as often."""
    native, _ = await _native(name, tmp_path)
    bridged = await _bridged(name, Stand(tmp_path))
    assert (bridged.held, bridged.lost_all) == (native.held, native.lost_all)


@pytest.mark.parametrize("name", ALL)
async def test_the_watch_follows_a_patched_charon(name: str, tmp_path: Path, telemetry: Telemetry) -> None:
    """It reports the patches, has the IKE_SAs that charon lists, and none once charon is gone."""
    async with _charon(name, tmp_path / "charon.vici") as charon, watched(charon.path, telemetry) as watch:
        assert watch.patched is True
        while not charon.finished:
            charon.step()
        await watch.refresh()
        listed = {child: str(sa.remote_host) for child, (sa, _) in circuits(watch.ike_sas).items()}
        assert listed == installed(charon)
        await charon.stop()
        await until(lambda: not watch.connected)
        assert watch.ike_sas == ()


async def test_the_agent_deletes_an_ike_sa_of_a_patched_charon(tmp_path: Path, telemetry: Telemetry) -> None:
    """A refresh shows that it is gone."""
    async with _charon("peer-comes", tmp_path / "charon.vici") as charon, watched(charon.path, telemetry) as watch:
        while not charon.finished:
            charon.step()
        await watch.refresh()
        (sa,) = watch.sas_at(ip_address(SPOKE))
        await watch.end(sa)
        await watch.refresh()
        assert list(watch.our_sas()) == []


async def test_the_initiate_command_is_the_one_that_a_patched_charon_accepted(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    """In the recording it was answered with success."""
    packets = [line.packet for line in load(_recording("initiate-terminate"))]
    (recorded,) = [
        packet for packet in packets if packet.type is PacketType.CMD_REQUEST and packet.name == "initiate"
    ]
    async with _charon("initiate-terminate", tmp_path / "charon.vici") as charon:
        reconnector = ViciReconnector((charon.path,), {"gre1": "dmvpn"}, telemetry)
        await reconnector.initiate("gre1", ip_address("198.18.0.1"), ip_address(SPOKE))
        name, message = charon.requests[-1]
    assert name == "initiate"
    assert {**message, "init-limits": b"1"} == recorded.message


async def test_the_bridge_reports_a_patched_charon(tmp_path: Path) -> None:
    """It logs that it is not needed, and serves nhrpd all the same."""
    stand = Stand(tmp_path)
    stand.charon = RecordedCharon(stand.charon.path, _recording("peer-comes"))
    await stand.charon.start()
    with structlog.testing.capture_logs() as logs:
        async with stand.bridged(), stand.nhrpd():
            pass
    await stand.charon.stop()
    assert [entry["bridge"] for entry in logs if entry["event"] == "charon_is_patched"] == ["not needed"]
