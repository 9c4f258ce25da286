"""The bridge as a process: upgraded under load, refused upgrades, killed."""

import asyncio
import contextlib
import itertools
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.bridge_process import BridgeProcess
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.charon.vici import Packet, PacketType, encode, text
from factories import der
from fakes.charon import FakeCharon, FakeSa
from fakes.nhrpd_vici import nhrpd_at
from fakes.stored import rows_on_disk
from fakes.waiting import LIMIT, until

NAME = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


@pytest.fixture
async def charon(tmp_path: Path) -> AsyncIterator[FakeCharon]:
    charon = FakeCharon(tmp_path / "real.vici")
    charon.certificates = [der()]
    await charon.start()
    yield charon
    await charon.stop()


@pytest.fixture
async def bridge(tmp_path: Path, charon: FakeCharon) -> AsyncIterator[BridgeProcess]:
    bridge = BridgeProcess(tmp_path)
    yield bridge
    bridge.kill()


def _spoke(number: int, *children: int) -> FakeSa:
    host = f"203.0.{113 + number // 250}.{1 + number % 250}"
    return FakeSa(number, host, NAME, children=dict.fromkeys(children or (1000 + number,), "INSTALLED"))


async def _changes(charon: FakeCharon) -> None:
    """Have SAs come, be rekeyed, and go, without end."""
    children = itertools.count(100_000)
    for number in itertools.count(10):
        charon.up(_spoke(number))
        if number % 2:
            old = next(iter(charon.sas[number].children))
            charon.rekey_child(number, old, next(children))
        if number >= 20:
            charon.down(number - 10)
        await asyncio.sleep(0.01)


def _history(told: Iterable[tuple[str, int, bytes]]) -> dict[int, list[str]]:
    history: dict[int, list[str]] = defaultdict(list)
    for event, child, certificate in told:
        history[child].append(event)
        assert event == DESTROYING or certificate == der()  # nhrpd reads no certificate of a circuit that goes
    return history


async def _upgrade_halted(bridge: BridgeProcess, charon: FakeCharon) -> Path:
    """Upgrade to a program that first waits for a file; return the file's path."""
    go_on = bridge.directory / "go-on"
    bridge.install("import pathlib, time", f"go_on = pathlib.Path({str(go_on)!r})",
                   "while '--preflight' not in sys.argv and not go_on.exists(): time.sleep(0.01)")  # fmt: skip
    bridge.signal(signal.SIGUSR2)
    await until(lambda: charon.listeners("child-updown") == 0)
    return go_on


async def test_an_upgrade_under_load_loses_and_repeats_no_event(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """Five in a row: the same process and connection; each CHILD_SA is announced once, and destroyed once."""
    await bridge.start()
    charon.up(_spoke(1))
    await bridge.wait_for("child_state_installed")
    assert bridge.process is not None
    process = bridge.process.pid
    async with nhrpd_at(bridge.listen) as nhrpd:
        load = asyncio.create_task(_changes(charon))
        for _ in range(5):
            await bridge.upgrade()
        descriptors = bridge.descriptors()
        await bridge.upgrade()
        load.cancel()
        up = {child for sa in charon.sas.values() for child, state in sa.children.items() if state == "INSTALLED"}

        def circuits() -> set[int]:
            return {child for child, events in _history(nhrpd.received).items() if events[-1] != DESTROYING}

        with contextlib.suppress(TimeoutError):
            await until(lambda: circuits() == up)
        assert circuits() == up
        assert not nhrpd.closed
        for child, events in _history(nhrpd.received).items():
            assert events in (["list-sa"], [INSTALLED], [INSTALLED, DESTROYING]), (child, events)
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == 6)
    assert bridge.process.poll() is None
    assert [entry["clients"] for entry in bridge.events("bridge_taken_over")] == [1] * 6
    assert bridge.descriptors() <= descriptors
    assert bridge.process.pid == process


async def test_a_request_sent_half_before_an_upgrade_is_answered(bridge: BridgeProcess) -> None:
    """The other half arrives after the upgrade."""
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        data = encode(Packet(PacketType.CMD_REQUEST, "list-sas"))
        nhrpd.send_raw(data[:7])
        await bridge.upgrade()
        nhrpd.send_raw(data[7:])
        await until(lambda: len(nhrpd.answers) == 6)


async def test_unsent_bytes_are_sent_after_an_upgrade(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """A client that does not read during the upgrade receives everything after it, once and in order."""
    for number in range(1, 401):
        charon.up(_spoke(number), silent=True)
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        nhrpd.received.clear()
        nhrpd.pause()
        nhrpd.request("list-sas")
        nhrpd.request("make-coffee")
        await bridge.upgrade()
        nhrpd.resume()
        await until(lambda: len(nhrpd.answers) == 7)
        kinds = [packet.type for packet in nhrpd.answers[5:]]
        assert kinds == [PacketType.CMD_RESPONSE, PacketType.CMD_UNKNOWN]
        assert set(nhrpd.events("list-sa")) == {1000 + number for number in range(1, 401)}


async def test_changes_during_an_upgrade_are_announced_after_it(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """And no others."""
    for number in (1, 2):
        charon.up(_spoke(number))
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        nhrpd.received.clear()
        go_on = await _upgrade_halted(bridge, charon)
        del charon.sas[1]
        charon.up(_spoke(3))
        go_on.touch()
        await until(lambda: len(nhrpd.received) == 2)
        assert [what[:2] for what in nhrpd.received] == [(INSTALLED, 1003), (DESTROYING, 1001)]
        assert not nhrpd.closed


async def test_the_circuits_of_a_profile_that_was_removed_go_in_the_upgrade(
    bridge: BridgeProcess, charon: FakeCharon
) -> None:
    """Their IKE_SAs stay, and nhrpd is not told of them again."""
    both = 'interfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }'
    config = bridge.config.read_text()
    bridge.config.write_text(f"{config}[nhrp]\n{both}\n")
    other = replace(_spoke(2), name="dmvpn2")
    for sa in (_spoke(1), other):
        charon.up(sa)
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        assert {child for _, child, _ in nhrpd.received} == {1001, 1002}
        nhrpd.received.clear()
        bridge.config.write_text(config)
        await bridge.upgrade()
        await until(lambda: nhrpd.events(DESTROYING) == [1002])
        nhrpd.received.clear()
        nhrpd.request("list-sas")
        nhrpd.request("terminate", ike_id="2")
        await until(lambda: len(nhrpd.answers) == 7)
        assert [child for _, child, _ in nhrpd.received] == [1001]
        assert "no matching SAs" in text(nhrpd.answers[-1].message, "errmsg")
        assert not nhrpd.closed


async def test_certificates_survive_an_upgrade(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """They are stored by IKE_SA before it, and known after it."""
    await bridge.start()
    charon.up(_spoke(1))
    await bridge.wait_for("child_state_installed")
    charon.certificates.clear()
    async with nhrpd_at(bridge.listen) as nhrpd:
        await bridge.upgrade()
        nhrpd.received.clear()
        nhrpd.request("list-sas")
        await until(lambda: nhrpd.received)
        assert nhrpd.received == [("list-sa", 1001, der())]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("raise SystemExit('a library is missing')", "a library is missing"),
        ("sys.argv[1:2] = ['']", "invalid choice"),
    ],
    ids=["program", "usage"],
)
async def test_a_program_that_does_not_start_is_refused(bridge: BridgeProcess, line: str, why: str) -> None:
    """The old one continues with its clients, and logs the reason."""
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        bridge.install(line)
        bridge.signal(signal.SIGUSR2)
        await bridge.wait_for("upgrade_refused")
        (refusal,) = bridge.events("upgrade_refused")
        assert why in refusal["why"]
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == 6)
        bridge.install()
        await bridge.upgrade()
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == 7)


async def test_an_invalid_configuration_is_refused(bridge: BridgeProcess) -> None:
    """The old program continues."""
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        bridge.config.write_text(bridge.config.read_text() + "nonsense = 1\n")
        bridge.signal(signal.SIGUSR2)
        await bridge.wait_for("upgrade_refused")
        assert "bridge.nonsense" in bridge.events("upgrade_refused")[0]["why"]
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == 6)


async def test_an_upgrade_works_without_charon(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """No client is connected then; the socket stays, and nhrpd is served when charon is back."""
    await bridge.start()
    await charon.stop()
    await bridge.wait_for("charon_lost")
    bridge.signal(signal.SIGUSR2)
    await bridge.wait_for("bridge_taken_over")
    await charon.start()
    await bridge.wait_for("bridge_ready", 2)
    async with nhrpd_at(bridge.listen) as nhrpd:
        assert not nhrpd.closed


async def test_charon_lost_during_an_upgrade_resets_nhrpd(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """Its circuits are stale, as whenever charon is lost."""
    charon.up(_spoke(1))
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        go_on = await _upgrade_halted(bridge, charon)
        await charon.stop()
        go_on.touch()
        await until(lambda: nhrpd.closed)
    await bridge.wait_for("adoption_failed")


async def test_another_charon_after_an_upgrade_resets_nhrpd(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """The unique id of a CHILD_SA that now belongs to another peer must not move nhrpd's circuit there."""
    charon.up(_spoke(1, 7))
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        go_on = await _upgrade_halted(bridge, charon)
        charon.sas = {2: _spoke(2, 7)}
        go_on.touch()
        await until(lambda: nhrpd.closed)
        assert nhrpd.events(INSTALLED) == []
    await bridge.wait_for("bridge_ready", 2)


async def test_an_unreadable_handover_resets_nhrpd(bridge: BridgeProcess) -> None:
    """As of another version: all connections are closed, and the same process starts afresh."""
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        bridge.install("import dmvpn_agent.bridge.handover_state as handover", "handover.VERSION = 99")
        await bridge.upgrade()
        await until(lambda: nhrpd.closed)
        assert "version 1, this program reads 99" in bridge.log.read_text()
    async with nhrpd_at(bridge.listen) as nhrpd:
        assert not nhrpd.closed


async def test_signals_during_an_upgrade_do_not_end_the_process(bridge: BridgeProcess) -> None:
    """Several in a row, also before the new program has installed its handlers."""
    await bridge.start()
    async with nhrpd_at(bridge.listen) as nhrpd:
        async with asyncio.timeout(LIMIT):
            while len(bridge.events("bridge_taken_over")) < 3:
                bridge.signal(signal.SIGUSR2)
                bridge.signal(signal.SIGHUP)
                await asyncio.sleep(0.02)
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == 6)
        assert bridge.process is not None
        assert bridge.process.poll() is None


async def test_a_restarted_bridge_has_every_certificate(bridge: BridgeProcess, charon: FakeCharon) -> None:
    """nhrpd connects to it, and receives its circuits as they were."""
    await bridge.start()
    charon.up(_spoke(1))
    await bridge.wait_for("child_state_installed")
    await until(lambda: rows_on_disk(bridge.directory / "bridge.sqlite", CertificateTable.TABLE) == 1)
    charon.certificates.clear()
    async with nhrpd_at(bridge.listen) as nhrpd:
        bridge.kill()
        await until(lambda: nhrpd.closed)
    await bridge.start(ready=2)
    async with nhrpd_at(bridge.listen) as nhrpd:
        assert nhrpd.received == [("list-sa", 1001, der())]
