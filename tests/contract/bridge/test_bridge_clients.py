"""The bridge's clients: many, silent, flooding, sending garbage, coming and going."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from contract.bridge_stand import INSTALLED, NAME, SPOKE, Stand, spoke, stand
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.clients import Client
from dmvpn_agent.bridge.vici_server import MAX_CLIENTS, ViciServer
from dmvpn_agent.charon.vici import Packet, PacketType, encode
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import der
from fakes.charon import FakeSa
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

__all__ = ["stand"]


async def test_garbage_from_a_client_closes_only_that_one(stand: Stand) -> None:
    """nhrpd is still served."""
    async with stand.bridged(), stand.nhrpd() as nhrpd, stand.nhrpd() as stranger:
        stranger.send_raw(b"\xff\xff\xff\xff")
        await until(lambda: stranger.closed)
        stand.charon.up(spoke())
        await until(lambda: nhrpd.events(INSTALLED) == [11])


async def test_a_client_that_does_not_read_is_closed(stand: Stand) -> None:
    """The bytes that wait for it are bounded; the other clients are served."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        _, writer = await asyncio.open_unix_connection(stand.listen, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for event in ("child-state-installed", "child-state-destroying"):
            writer.write(b"\0\0\0" + bytes([len(event) + 2, PacketType.EVENT_REGISTER, len(event)]) + event.encode())
        await until(lambda: stand.telemetry.value(metrics.BRIDGE_CLIENTS) == 2)
        number = 0

        def dropped() -> bool:
            nonlocal number
            number += 1
            stand.charon.up(FakeSa(number, str(SPOKE), NAME, children={number: "INSTALLED"}), silent=True)
            sa = stand.charon.sas[number]
            stand.charon.raise_event("child-updown", {"up": "yes", sa.name: sa.section()})
            stand.charon.sas.pop(number - 50, None)
            return stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "does_not_read") == 1

        await until(dropped)
        assert not nhrpd.closed
        writer.close()


async def test_clients_without_an_event_make_room(stand: Stand) -> None:
    """nhrpd, which registers events at once, gets in although another program opened many connections."""
    async with stand.bridged(), AsyncExitStack() as stack:
        first = await stack.enter_async_context(stand.nhrpd())
        idle = []
        for _ in range(MAX_CLIENTS):
            client = NhrpdVici()
            await client.connect(stand.listen, quiet=True)
            stack.push_async_callback(client.close)
            idle.append(client)
        late = await stack.enter_async_context(stand.nhrpd())
        await until(lambda: stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "idle") == 2)
        assert [client.closed for client in idle].count(True) == 2
        assert not first.closed
        assert not late.closed


async def test_clients_beyond_the_limit_are_closed(stand: Stand) -> None:
    """Those that registered events stay."""
    async with stand.bridged(), AsyncExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            await stack.enter_async_context(stand.nhrpd())
        late = NhrpdVici()
        await late.connect(stand.listen)
        await until(lambda: late.closed)
        assert stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "too_many") == 1
        await late.close()


async def test_a_flood_of_requests_waits_in_the_sender(stand: Stand) -> None:
    """The bridge reads no more requests than may wait, answers each in turn, and serves other clients meanwhile."""
    async with stand.bridged(), stand.nhrpd() as nhrpd, stand.nhrpd() as other:
        for _ in range(5000):
            nhrpd.request("list-sas")
        other.request("list-sas")
        await until(lambda: len(other.answers) == 6)
        assert len(nhrpd.answers) < 5005
        await until(lambda: len(nhrpd.answers) == 5005)


async def test_a_long_list_is_sent_no_faster_than_it_is_read(stand: Stand) -> None:
    """A list with more bytes than may wait for a client does not close it."""
    for number in range(1, 1001):
        stand.charon.up(FakeSa(number, f"10.{number // 250}.0.{number % 250}", NAME, children={number: "INSTALLED"}))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert len(nhrpd.events("list-sa")) == 1000
        assert not nhrpd.closed


async def test_nhrpd_may_restart_at_any_time(stand: Stand) -> None:
    """Again and again, or two at once: each receives everything, and no client is left behind."""
    await stand.came(spoke())
    async with stand.bridged():
        async with stand.nhrpd() as one:
            for _ in range(20):
                async with stand.nhrpd() as other:
                    assert other.received == [("list-sa", 11, der())]
            stand.charon.up(spoke(2))
            await until(lambda: one.events(INSTALLED) == [12])
        await until(lambda: stand.telemetry.value(metrics.BRIDGE_CLIENTS) == 0)
        assert stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "closed_by_client") == 21


async def test_the_socket_has_the_group_of_its_setgid_directory(stand: Stand) -> None:
    """Whatever the process's own group is; other users have no access."""
    group = next((one for one in os.getgroups() if one != os.getegid()), os.getegid())
    os.chown(stand.folder, -1, group)
    stand.folder.chmod(0o2750)
    async with stand.bridged():
        status = stand.listen.stat()
        assert (status.st_mode & 0o777, status.st_gid) == (0o660, group)


async def test_a_stopped_bridge_leaves_no_task_and_no_socket(stand: Stand) -> None:
    """All clients are closed."""
    before = asyncio.all_tasks()
    async with stand.bridged(), stand.nhrpd():
        pass
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)])
    assert not stand.listen.exists()


class _Registry:
    """Accepts every client."""

    def connected(self, client: Client) -> None:
        assert client.events == set()

    adopt = disconnected = connected


async def test_a_client_without_a_pause_does_not_delay_others(tmp_path: Path, telemetry: Telemetry) -> None:
    """The bridge answers the requests of several clients in turn."""
    asked: list[str] = []

    async def answer(_: Client, packet: Packet) -> Packet:
        asked.append(packet.name)
        return Packet(PacketType.CMD_RESPONSE)

    server = ViciServer(tmp_path / "vici", _Registry(), answer, telemetry)
    server.start()
    clients = [await asyncio.open_unix_connection(tmp_path / "vici") for _ in range(2)]
    for name, (_, writer) in zip("ab", clients, strict=True):
        writer.write(encode(Packet(PacketType.CMD_REQUEST, name)) * 100)
    await until(lambda: len(asked) == 200)
    assert "b" in asked[:100]
    for _, writer in clients:
        writer.close()
    server.stop()
