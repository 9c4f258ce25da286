"""The bridge between a client that does what nhrpd does and a charon, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.adapters.store import CertificateTable, Store
from dmvpn_agent.adapters.vici_server import ViciServer
from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Address
from dmvpn_agent.service.bridge import Bridge, TriggerFailed
from dmvpn_agent.service.certificates import Certificates
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
        self.bridge = Bridge(upstream, certificates, self.send_trigger, {"dmvpn", "dmvpn2"}, self.telemetry)
        server = ViciServer(self.listen, self.bridge, self.telemetry, max_waiting=100_000)
        await server.start()
        work = asyncio.create_task(self.bridge.run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await server.stop()
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


async def test_an_sa_without_a_certificate_is_announced_without(stand: Stand) -> None:
    """nhrpd then asks the agent, which denies; it is counted."""
    stand.charon.certificates = [der(name="other")]
    stand.charon.up(_spoke())
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        assert nhrpd.told == [("list-sa", 11, b"")]
        assert stand.telemetry.value(metrics.BRIDGE_CERTIFICATES_MISSING) >= 1


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


@pytest.mark.parametrize("profile", ["dmvpn", "dmvpn2"])
async def test_every_profile_is_served(stand: Stand, profile: str) -> None:
    """An SA to a peer can be asked for in each, and all of its SAs ended."""
    async with stand.bridged(), stand.nhrpd() as nhrpd:
        nhrpd.initiate(profile, str(HUB), str(SPOKE))
        nhrpd.request("terminate", ike=profile)
        await until(lambda: len(nhrpd.answers) == 7)
        assert stand.triggers == [(HUB, SPOKE)]
        assert stand.charon.requests[-1] == ("terminate", {"ike": profile.encode(), "timeout": b"-1"})


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


async def test_a_stopped_bridge_leaves_nothing_running(stand: Stand) -> None:
    """No task and no socket file is left behind."""
    before = asyncio.all_tasks()
    async with stand.bridged(), stand.nhrpd():
        pass
    await until(lambda: not [task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)])
    assert not stand.listen.exists()
