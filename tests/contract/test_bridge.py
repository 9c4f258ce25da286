"""The bridge between a client that does what nhrpd does and a charon, over real sockets."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.adapters.store import CertificateTable, Store
from dmvpn_agent.adapters.vici_server import MAX_CLIENTS, ViciServer
from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Address
from dmvpn_agent.service.bridge import Bridge
from dmvpn_agent.service.bridge_commands import Commands, InitLimits, TriggerFailed
from dmvpn_agent.service.certificates import Certificates
from dmvpn_agent.service.surplus import SurplusEnder
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.vici import Packet, PacketType, text
from factories import NOW, YEAR, der
from fakes.charon import FakeCharon, FakeSa
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

NAME = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
HUB, SPOKE = ip_address("203.0.113.1"), ip_address("203.0.113.2")
INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


class Stand:
    """A charon, the bridge, and what it sent as triggers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listen = folder / "charon.vici"
        self.charon = FakeCharon(folder / "real.vici")
        self.charon.certificates = [der(name="other"), der()]
        self.telemetry = Telemetry()
        self.triggers: list[tuple[Address, Address]] = []
        self.refusal: str | None = None
        self.forged: list[bytes] = []
        self.limits = InitLimits()
        self.now = 0.0
        self.bridge: Bridge

    def is_ours(self, certificate: bytes, _: Sequence[bytes]) -> bool:
        return certificate not in self.forged

    def send_trigger(self, local: Address, remote: Address) -> None:
        if self.refusal:
            raise TriggerFailed(self.refusal)
        self.triggers.append((local, remote))

    @asynccontextmanager
    async def bridged(self) -> AsyncIterator[None]:
        store = Store(self.folder / "bridge.sqlite")
        store.open()
        certificates = Certificates(CertificateTable(store), self.is_ours, self.telemetry)
        certificates.start()
        upstream = ViciCharon(self.charon.path, self.telemetry)
        surplus = SurplusEnder("dmvpn", self.telemetry, lambda: self.now)
        self.bridge = Bridge(upstream, certificates, surplus, self.telemetry)
        commands = Commands(self.bridge, self.send_trigger, "dmvpn", self.limits, self.telemetry, lambda: self.now)
        server = ViciServer(self.listen, self.bridge, commands.answer, self.telemetry, max_waiting=100_000)
        server.start()
        work = asyncio.create_task(self.bridge.run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            server.stop()
            store.close()

    @asynccontextmanager
    async def nhrpd(self) -> AsyncIterator[NhrpdVici]:
        await until(lambda: self.bridge.ready)
        client = NhrpdVici()
        await client.connect(self.listen)
        try:
            await until(lambda: len(client.answers) == 5)
            yield client
        finally:
            await client.close()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    stand = Stand(tmp_path)
    await stand.charon.start()
    yield stand
    await stand.charon.stop()


def _spoke(unique_id: int = 1, **changes: object) -> FakeSa:
    return FakeSa(unique_id, str(SPOKE), NAME, children={10 + unique_id: "INSTALLED"}, **changes)  # type: ignore[arg-type]


async def test_registrations_are_confirmed_and_unknown_ones_are_not(stand: Stand) -> None:
    """The four events nhrpd asks for, and no other."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        kinds = [packet.type for packet in nhrpd.answers]
        assert kinds == [PacketType.EVENT_CONFIRM] * 4 + [PacketType.CMD_RESPONSE]
        nhrpd.send(Packet(PacketType.EVENT_REGISTER, "log"))
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].type is PacketType.EVENT_UNKNOWN


async def test_an_sa_that_comes_up_is_announced_with_its_certificate(stand: Stand) -> None:
    """charon tells no certificate; the bridge finds it."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.up(_spoke())
        await until(lambda: nhrpd.told)
        assert nhrpd.told == [(INSTALLED, 11, der())]


async def test_sas_that_are_there_already_are_listed(stand: Stand) -> None:
    """nhrpd asks for them when it connects."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, der())]


async def test_an_sa_that_goes_is_announced(stand: Stand) -> None:
    """nhrpd lets go of the circuit."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.down(1)
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_a_missed_event_is_made_good_by_the_next_one(stand: Stand) -> None:
    """Whatever happens to an IKE_SA, all of it is looked at."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        sa = _spoke()
        stand.charon.up(sa, told=False)
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(INSTALLED) == [11])


async def test_the_certificate_outlives_charons_cache(stand: Stand) -> None:
    """charon has room for 32; what was seen once is kept as long as the IKE_SA."""
    stand.charon.up(_spoke())
    async with stand.bridged():
        async with stand.nhrpd():
            stand.charon.certificates.clear()
        async with stand.nhrpd() as nhrpd:
            assert nhrpd.told == [("list-sa", 11, der())]


async def test_the_certificate_outlives_the_bridge(stand: Stand) -> None:
    """It is stored by the IKE_SA's SPIs."""
    stand.charon.up(_spoke())
    async with stand.bridged():
        await until(lambda: stand.bridge.ready)
    stand.charon.certificates.clear()
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, der())]


async def test_a_certificate_goes_with_its_ike_sa(stand: Stand) -> None:
    """A new IKE_SA of the same peer has to show its own."""
    stand.charon.up(_spoke(1))
    async with stand.bridged():
        await until(lambda: stand.bridge.ready)
    stand.charon.certificates.clear()
    stand.charon.sas.clear()
    stand.charon.up(_spoke(2))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 12, b"")]


async def test_rekeying_a_child_announces_the_new_one_first(stand: Stand) -> None:
    """There is no moment in which nhrpd believes the link down."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.rekey_child(1, old=11, new=12)
        await until(lambda: len(nhrpd.told) == 3)
        assert nhrpd.told[1:] == [(INSTALLED, 12, der()), (DESTROYING, 11, der())]


async def test_rekeying_an_ike_sa_keeps_certificate_and_circuit(stand: Stand) -> None:
    """The children move; nhrpd learns the new IKE_SA's number, and nothing is destroyed."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.certificates.clear()
        stand.charon.rekey_ike(1, 2)
        await until(lambda: len(nhrpd.told) == 2)
        assert nhrpd.told[1] == (INSTALLED, 11, der())
        assert nhrpd.events(DESTROYING) == []


async def test_an_sa_that_one_look_does_not_show_is_looked_for_again(stand: Stand) -> None:
    """While an IKE_SA is rekeyed, list-sas may meet its CHILD_SA neither in the old nor in the new one."""
    sa = _spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.hide_once = {11}
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: not stand.charon.hide_once)
        stand.charon.up(_spoke(2))
        await until(lambda: nhrpd.events(INSTALLED))
        assert nhrpd.told[1:] == [(INSTALLED, 12, der())]


async def test_an_sa_that_vanished_without_a_word_is_announced(stand: Stand) -> None:
    """Two looks that do not show it are enough."""
    sa = _spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        del stand.charon.sas[1]
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_an_ike_sa_that_is_being_deleted_has_no_circuit(stand: Stand) -> None:
    """There is no way back from there, though charon goes on asking a peer that does not answer."""
    sa = _spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        sa.state = "DELETING"
        stand.charon.raise_event("ike-updown", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(DESTROYING) == [11])


async def test_a_peer_that_moves_takes_its_circuit_along(stand: Stand) -> None:
    """nhrpd moves a CHILD_SA's circuit itself where it is told other addresses; destroying it would take it away."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.move(1, "198.51.100.7")
        await until(lambda: len(nhrpd.told) == 2)
        assert nhrpd.told[1] == (INSTALLED, 11, der())
        nhrpd.initiate("dmvpn", str(HUB), "198.51.100.7")
        await until(lambda: len(nhrpd.told) == 3)
        assert nhrpd.events(DESTROYING) == []


async def test_an_sa_without_a_certificate_is_announced_without(stand: Stand) -> None:
    """nhrpd then asks the agent, which denies; it is counted."""
    stand.charon.certificates = [der(name="other")]
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, b"")]
        assert stand.telemetry.value(metrics.BRIDGE_CERTIFICATES_MISSING) >= 1


async def test_a_certificate_that_is_found_later_is_announced(stand: Stand) -> None:
    """As when the CA's certificate was put in its place meanwhile: nhrpd has it for the next registration."""
    stand.forged = [der()]
    sa = _spoke()
    stand.charon.up(sa)
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, b"")]
        stand.forged.clear()
        stand.charon.raise_event("ike-update", {sa.name: sa.section()})
        await until(lambda: nhrpd.events(INSTALLED) == [11])
        stand.charon.up(_spoke(2))
        await until(lambda: 12 in nhrpd.events(INSTALLED))
        assert nhrpd.told[1:] == [(INSTALLED, 11, der()), (INSTALLED, 12, der())]


async def test_of_two_certificates_with_one_subject_the_newer_is_taken(stand: Stand) -> None:
    """Both are in charon's cache right after a renewal."""
    renewed = der(not_before=NOW - YEAR + timedelta(days=1))
    stand.charon.certificates = [renewed, der()]
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, renewed)]


async def test_a_certificate_that_no_ca_of_ours_issued_is_not_taken(stand: Stand) -> None:
    """Anybody can send one with a peer's subject; charon keeps it in the same cache."""
    forged = der(not_before=NOW - YEAR + timedelta(days=1))
    stand.charon.certificates, stand.forged = [forged, der()], [forged]
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, der())]


async def test_an_identity_of_two_peers_is_given_neither_certificate(stand: Stand) -> None:
    """A name that two certificates prove tells nobody apart."""
    one, other = (der(name=name, dns_name="gate.example.net") for name in ("spoke1", "spoke2"))
    stand.charon.certificates = [one, other]
    stand.charon.up(FakeSa(1, "203.0.113.2", "gate.example.net", children={11: "INSTALLED"}))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, b"")]


async def test_nhrpd_is_closed_when_charon_is_lost_and_served_when_it_is_back(stand: Stand) -> None:
    """It resets its circuits, and starts anew with those that come after."""
    stand.charon.up(_spoke())
    async with stand.bridged():
        async with stand.nhrpd() as nhrpd:
            await stand.charon.stop()
            await until(lambda: nhrpd.closed)
            assert not stand.bridge.ready
        stand.charon.sas.clear()
        await stand.charon.start()
        async with stand.nhrpd() as nhrpd:
            assert nhrpd.told == []
            stand.charon.up(_spoke(2))
            await until(lambda: nhrpd.events(INSTALLED) == [12])


async def test_nobody_is_served_while_charon_is_away(stand: Stand) -> None:
    """An empty list of SAs would be a lie."""
    await stand.charon.stop()
    async with stand.bridged():
        nhrpd = NhrpdVici()
        await nhrpd.connect(stand.listen)
        await until(lambda: nhrpd.closed)
        assert nhrpd.answers == []
        await nhrpd.close()


async def test_garbage_from_charon_is_a_lost_charon(stand: Stand) -> None:
    """The connection is set up anew, and all is read again."""
    async with stand.bridged():
        async with stand.nhrpd() as nhrpd:
            stand.charon.up(_spoke(), told=False)
            stand.charon.send_raw(b"\xff\xff\xff\xff")
            await until(lambda: nhrpd.closed)
        async with stand.nhrpd() as nhrpd:
            await until(lambda: nhrpd.told)


async def test_initiate_sends_one_trigger(stand: Stand) -> None:
    """The kernel then asks charon for an SA to just that peer."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "yes"
        assert stand.triggers == [(HUB, SPOKE)]


async def test_initiate_with_an_sa_there_announces_it_again(stand: Stand) -> None:
    """nhrpd may have missed it; nothing is sent."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: nhrpd.events(INSTALLED) == [11])
        assert stand.triggers == []


async def test_a_pair_that_was_triggered_a_moment_ago_is_not_triggered_again(stand: Stand) -> None:
    """The kernel holds a request for it; another one would begin no sooner."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        for number, now in enumerate((0.0, 1.9, 2.0), 6):
            stand.now = now
            nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
            await until(lambda number=number: len(nhrpd.answers) == number)  # type: ignore[misc]
        assert stand.triggers == [(HUB, SPOKE)] * 2
        assert stand.telemetry.value(metrics.BRIDGE_TRIGGERS, "under_way") == 1


async def test_an_sa_that_came_and_went_is_asked_for_anew(stand: Stand) -> None:
    """However soon: nhrpd would not ask again for half a minute."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        stand.charon.up(_spoke())
        await until(lambda: nhrpd.events(INSTALLED) == [11])
        stand.charon.down(1)
        await until(lambda: nhrpd.events(DESTROYING) == [11])
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 7)
        assert stand.triggers == [(HUB, SPOKE)] * 2


@pytest.mark.parametrize(
    ("limits", "half_open", "jobs", "init_limits", "triggers"),
    [
        (InitLimits(half_open=5), 5, 0, "1", 0),
        (InitLimits(half_open=5), 4, 0, "1", 1),
        (InitLimits(half_open=5), 5, 0, "0", 1),
        (InitLimits(job_load=3), 0, 4, "1", 0),
        (InitLimits(job_load=3), 0, 3, "1", 1),
        (InitLimits(), 1000, 1000, "1", 1),
    ],
)
async def test_limits_are_charons(
    stand: Stand, limits: InitLimits, half_open: int, jobs: int, init_limits: str, triggers: int
) -> None:
    """As charon applies its own; what nhrpd asks for with priority, as a registration, is not limited."""
    stand.limits = limits
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        stand.charon.half_open, stand.charon.jobs = half_open, jobs
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE), init_limits=init_limits)
        await until(lambda: len(nhrpd.answers) == 6)
        assert len(stand.triggers) == triggers
        assert ("due to limits" in text(nhrpd.answers[5].message, "errmsg")) is not bool(triggers)


async def test_terminate_by_profile_is_answered_as_charon_does(stand: Stand) -> None:
    """All of the profile's IKE_SAs, and how many those were."""
    for number in (1, 2):
        stand.charon.up(_spoke(number))
    stand.charon.up(_spoke(3, name="office"))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike="dmvpn")
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].message == {"success": b"yes", "matches": b"2", "terminated": b"2"}


async def test_another_connections_ike_sa_cannot_be_terminated(stand: Stand) -> None:
    """charon's other tunnels are none of nhrpd's business."""
    stand.charon.up(_spoke(3, name="office"))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike_id="3")
        await until(lambda: len(nhrpd.answers) == 6)
        assert "no matching SAs" in text(nhrpd.answers[5].message, "errmsg")
        assert "terminate" not in {name for name, _ in stand.charon.requests}


def _initiate(*words: str) -> Callable[[NhrpdVici], None]:
    return lambda nhrpd: nhrpd.initiate(*words)


def _request(command: str, **message: str) -> Callable[[NhrpdVici], None]:
    return lambda nhrpd: nhrpd.request(command, **message)


REFUSED = [
    (_initiate("other", str(HUB), str(SPOKE)), "profile 'other' is not served"),
    (_initiate("dmvpn", str(HUB), "nowhere"), "my-host or other-host"),
    (_request("terminate", ike="other"), "only ike-id"),
    (_request("terminate", ike_id="99"), "no matching SAs"),
]


@pytest.mark.parametrize(("ask", "why"), REFUSED, ids=[why for _, why in REFUSED])
async def test_what_cannot_be_done_is_refused_with_words(
    stand: Stand, ask: Callable[[NhrpdVici], None], why: str
) -> None:
    """nhrpd logs them."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        ask(nhrpd)
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "no"
        assert why in text(nhrpd.answers[5].message, "errmsg")
        assert stand.triggers == []


async def test_a_trigger_that_cannot_be_sent_is_refused_with_words(stand: Stand) -> None:
    """As without CAP_NET_RAW."""
    stand.refusal = "a raw socket needs CAP_NET_RAW"
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate("dmvpn", str(HUB), str(SPOKE))
        await until(lambda: len(nhrpd.answers) == 6)
        assert "CAP_NET_RAW" in text(nhrpd.answers[5].message, "errmsg")
        assert stand.telemetry.value(metrics.BRIDGE_TRIGGERS, "failed") == 1


async def test_terminate_goes_to_charon_without_waiting(stand: Stand) -> None:
    """By number, as nhrpd ends one peer; only what nhrpd needs is passed on."""
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request("terminate", ike_id="1", force="yes")
        await until(lambda: len(nhrpd.answers) == 6)
        assert text(nhrpd.answers[5].message, "success") == "yes"
        assert stand.charon.requests[-1] == ("terminate", {"ike-id": b"1", "timeout": b"-1"})


@pytest.mark.parametrize("command", ["load-key", "unload-conn", "stats", "x" * 255])
async def test_other_commands_never_reach_charon(stand: Stand, command: str) -> None:
    """The bridge's socket is no way around charon's permissions."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.request(command)
        await until(lambda: len(nhrpd.answers) == 6)
        assert nhrpd.answers[5].type is PacketType.CMD_UNKNOWN
        assert {name for name, _ in stand.charon.requests} <= {"list-sas", "list-certs"}


async def test_garbage_from_a_client_closes_only_that_one(stand: Stand) -> None:
    """nhrpd goes on being served."""
    async with stand.bridged(), stand.nhrpd() as nhrpd, stand.nhrpd() as stranger:
        stranger.send_raw(b"\xff\xff\xff\xff")
        await until(lambda: stranger.closed)
        stand.charon.up(_spoke())
        await until(lambda: nhrpd.events(INSTALLED) == [11])


async def test_a_client_that_does_not_read_is_closed(stand: Stand) -> None:
    """What waits for it is bounded; the others go on."""
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
            stand.charon.up(FakeSa(number, str(SPOKE), NAME, children={number: "INSTALLED"}), told=False)
            sa = stand.charon.sas[number]
            stand.charon.raise_event("child-updown", {"up": "yes", sa.name: sa.section()})
            stand.charon.sas.pop(number - 50, None)
            return stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "does_not_read") == 1

        await until(dropped)
        assert not nhrpd.closed
        writer.close()


async def test_clients_that_ask_for_nothing_make_room(stand: Stand) -> None:
    """nhrpd, which asks at once, gets in though somebody opened many connections."""
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


async def test_beyond_the_number_of_clients_nobody_is_served(stand: Stand) -> None:
    """Those who asked for events stay."""
    async with stand.bridged(), AsyncExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            await stack.enter_async_context(stand.nhrpd())
        late = NhrpdVici()
        await late.connect(stand.listen)
        await until(lambda: late.closed)
        assert stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "too_many") == 1
        await late.close()


async def test_a_flood_of_requests_waits_in_the_sender(stand: Stand) -> None:
    """Each is answered in turn; no more are read than may wait, and another client is served meanwhile."""
    async with stand.bridged(), stand.nhrpd() as nhrpd, stand.nhrpd() as other:
        for _ in range(5000):
            nhrpd.request("list-sas")
        other.request("list-sas")
        await until(lambda: len(other.answers) == 6)
        assert len(nhrpd.answers) < 5005
        await until(lambda: len(nhrpd.answers) == 5005)


async def test_a_long_list_is_sent_no_faster_than_it_is_read(stand: Stand) -> None:
    """Many SAs are more than may wait for one client: that alone does not close it."""
    for number in range(1, 1001):
        stand.charon.up(FakeSa(number, f"10.{number // 250}.0.{number % 250}", NAME, children={number: "INSTALLED"}))
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert len(nhrpd.events("list-sa")) == 1000
        assert not nhrpd.closed


async def test_nhrpd_may_come_and_go(stand: Stand) -> None:
    """Restarted again and again, or two at once: each is told everything, and nobody is left behind."""
    stand.charon.up(_spoke())
    async with stand.bridged():
        async with stand.nhrpd() as one:
            for _ in range(20):
                async with stand.nhrpd() as other:
                    assert other.told == [("list-sa", 11, der())]
            stand.charon.up(_spoke(2))
            await until(lambda: one.events(INSTALLED) == [12])
        await until(lambda: stand.telemetry.value(metrics.BRIDGE_CLIENTS) == 0)
        assert stand.telemetry.value(metrics.BRIDGE_CLIENTS_DROPPED, "closed_by_client") == 21


async def test_the_socket_is_its_owners_and_its_groups(stand: Stand) -> None:
    """Its group is the directory's where that is setgid, whatever the process's own is."""
    group = next((one for one in os.getgroups() if one != os.getegid()), os.getegid())
    os.chown(stand.folder, -1, group)
    stand.folder.chmod(0o2750)
    async with stand.bridged():
        status = stand.listen.stat()
        assert (status.st_mode & 0o777, status.st_gid) == (0o660, group)


async def test_a_stopped_bridge_leaves_nothing_running(stand: Stand) -> None:
    """No task and no socket file is left behind."""
    before = asyncio.all_tasks()
    async with stand.bridged(), stand.nhrpd():
        pass
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)])
    assert not stand.listen.exists()
