"""Native mode: what a charon with Alpine's patches was recorded to tell, to nhrpd and to the agent.

The bridge is given the same recordings without what the patches add, and has to tell nhrpd the same.
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
#: In which there is a usable CHILD_SA from the first one on; in the others the last one goes.
KEPT = ["both-initiate", "charon-killed", "child-rekey", "ike-rekey", "peer-comes", "reauth"]
SPOKE = "198.18.1.1"
INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


def _recording(name: str) -> Path:
    return RECORDINGS / f"{name}.jsonl"


class Circuits:
    """What nhrpd holds of what it was told: CHILD_SAs, each with the peer's address and certificate."""

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
    """Have nhrpd's part listen to charon itself, to the end of the recording."""
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
    """Have it listen to the bridge, which has seen each state of charon before the next comes."""
    charon = RecordedCharon(stand.charon.path, _recording(name), patched=False)
    stand.charon = charon
    await charon.start()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        while not charon.finished:
            if charon.step() == "list-sas":
                charon.raise_event("ike-update", {f"sa-{number}": sa.section() for number, sa in charon.sas.items()})
                await until(lambda: Circuits(nhrpd).remotes == installed(charon))
        told = Circuits(nhrpd)
    await charon.stop()
    return told


@pytest.mark.parametrize("name", ALL)
def test_a_recording_is_read_and_written_unchanged(name: str) -> None:
    """What the tests go by is what came over the socket."""
    assert dump(load(_recording(name))) == _recording(name).read_text()


@pytest.mark.parametrize("name", ALL)
async def test_a_patched_charon_tells_nhrpd_what_it_has(name: str, tmp_path: Path) -> None:
    """At the end of each scenario nhrpd holds the CHILD_SAs that can be used, with the peer's certificate."""
    told, charon = await _native(name, tmp_path)
    assert told.remotes == installed(charon)
    assert set(told.remotes.values()) == ({SPOKE} if name in KEPT or "reauth" in name else set())
    for _, certificate in told.held.values():
        assert "CN=spoke0" in str(read_certificate(certificate))


@pytest.mark.parametrize("name", ALL)
async def test_nhrpd_believes_the_link_down_only_where_it_was(name: str, tmp_path: Path) -> None:
    """Rekeying and make-before-break leave no moment without a circuit."""
    told, _ = await _native(name, tmp_path)
    assert told.lost_all == (0 if name in KEPT else 1)


@pytest.mark.parametrize("name", ALL)
async def test_the_bridge_tells_the_same_of_an_unpatched_charon(name: str, tmp_path: Path) -> None:
    """The same circuits with the same certificates at the end, and the link down as often."""
    native, _ = await _native(name, tmp_path)
    bridged = await _bridged(name, Stand(tmp_path))
    assert (bridged.held, bridged.lost_all) == (native.held, native.lost_all)


@pytest.mark.parametrize("name", ALL)
async def test_the_watch_follows_a_patched_charon(name: str, tmp_path: Path, telemetry: Telemetry) -> None:
    """It says that the bridge is not needed, sees what charon lists, and nothing once charon is gone."""
    async with _charon(name, tmp_path / "charon.vici") as charon, watched(charon.path, telemetry) as watch:
        assert watch.patched is True
        while not charon.finished:
            charon.step()
        await watch.refresh()
        seen = {child: str(sa.remote_host) for child, (sa, _) in circuits(watch.ike_sas).items()}
        assert seen == installed(charon)
        await charon.stop()
        await until(lambda: not watch.connected)
        assert watch.ike_sas == ()


async def test_the_agent_ends_an_ike_sa_of_a_patched_charon(tmp_path: Path, telemetry: Telemetry) -> None:
    """By its number, and it is gone."""
    async with _charon("peer-comes", tmp_path / "charon.vici") as charon, watched(charon.path, telemetry) as watch:
        while not charon.finished:
            charon.step()
        await watch.refresh()
        (sa,) = watch.sas_at(ip_address(SPOKE))
        await watch.end(sa)
        await watch.refresh()
        assert list(watch.our_sas()) == []


async def test_an_invitation_has_the_form_that_a_patched_charon_took(tmp_path: Path, telemetry: Telemetry) -> None:
    """As in the recording, where it was answered with success."""
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


async def test_the_bridge_says_that_it_is_not_needed(tmp_path: Path) -> None:
    """Where somebody set it up before a patched charon; it serves all the same."""
    stand = Stand(tmp_path)
    stand.charon = RecordedCharon(stand.charon.path, _recording("peer-comes"))
    await stand.charon.start()
    with structlog.testing.capture_logs() as logs:
        async with stand.bridged(), stand.nhrpd():
            pass
    await stand.charon.stop()
    assert [entry["bridge"] for entry in logs if entry["event"] == "charon_is_patched"] == ["not needed"]
