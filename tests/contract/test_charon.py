"""What we take for granted of charon: one suite for the fake one and for the real one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.charons import RealCharon, needs_charon
from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.adapters.inviter import ViciInviter
from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import IkePeer
from dmvpn_agent.service.charon import CharonLost, CharonSession, CommandFailed, list_sas
from dmvpn_agent.service.charon_watch import CharonWatch
from dmvpn_agent.service.proofs import CertificateSource
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.charon import half_open_and_jobs, parse_connections
from dmvpn_agent.wire.vici import text
from factories import crl_pem, der
from fakes.charon import FakeCharon, FakeSa
from fakes.waiting import until

pytestmark = pytest.mark.contract


@asynccontextmanager
async def _fake(folder: Path) -> AsyncIterator[Path]:
    charon = FakeCharon(folder / "charon.vici")
    await charon.start()
    try:
        yield charon.path
    finally:
        await charon.stop()


@asynccontextmanager
async def _real(folder: Path) -> AsyncIterator[Path]:
    charon = RealCharon(folder)
    await charon.start()
    try:
        yield charon.path
    finally:
        charon.stop()


KINDS = [pytest.param(_fake, id="fake"), pytest.param(_real, id="real", marks=needs_charon())]


@pytest.fixture(params=KINDS)
async def path(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    async with request.param(tmp_path) as path:
        yield path


@pytest.fixture
async def session(path: Path, telemetry: Telemetry) -> AsyncIterator[CharonSession]:
    connect: AbstractAsyncContextManager[CharonSession] = ViciCharon(path, telemetry).session()
    async with connect as session:
        yield session


async def test_a_command_is_answered(session: CharonSession) -> None:
    """``version`` names the daemon."""
    assert text(await session.request("version", {}), "daemon").startswith("charon")


async def test_an_unknown_command_fails_and_the_connection_goes_on(session: CharonSession) -> None:
    """It is said, not met with silence."""
    with pytest.raises(CommandFailed, match="does not know"):
        await session.request("make-coffee", {})
    assert await session.request("version", {})


async def test_events_are_known_or_not(session: CharonSession) -> None:
    """All that the bridge asks for, and not the one of patched daemons."""
    for event in ("ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey"):
        assert await session.register(event)
    assert not await session.register("child-state-installed")


async def test_there_are_no_sas_at_first(session: CharonSession) -> None:
    """An empty list, of all and of one that is not there."""
    assert await list_sas(session) == []
    assert await list_sas(session, **{"ike-id": "4711"}) == []


async def test_terminating_nothing_fails_with_words(session: CharonSession) -> None:
    """charon says that there is no such SA."""
    with pytest.raises(CommandFailed, match="no matching SAs"):
        await session.request("terminate", {"ike-id": "4711", "timeout": "-1"})


async def test_answers_keep_their_order(session: CharonSession) -> None:
    """Commands given together, streaming ones among them, get each its own answer."""
    answers = await asyncio.gather(
        session.request("version", {}), list_sas(session), session.request("version", {}), list_sas(session)
    )
    assert (answers[1], answers[3]) == ([], [])
    assert text(answers[0], "version")
    assert text(answers[2], "version")


async def test_what_is_no_vici_ends_the_connection(path: Path) -> None:
    """Whoever talks nonsense is closed."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write((600 * 1024).to_bytes(4, "big") + b"nonsense")
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_certificates_are_listed_as_der(session: CharonSession) -> None:
    """``list-certs`` gives what charon holds, byte for byte."""
    pem = x509.load_der_x509_certificate(der()).public_bytes(Encoding.PEM)
    await session.request("load-cert", {"type": "X509", "flag": "NONE", "data": pem})
    listed = await session.stream("list-certs", {"type": "X509", "flag": "NONE"}, "list-cert", lambda one: (one,))
    assert [item["data"] for item in listed] == [der()]


async def test_a_crl_is_taken_as_der(session: CharonSession) -> None:
    """As a file of DER or PEM was read."""
    crl = x509.load_pem_x509_crl(crl_pem(7)).public_bytes(Encoding.DER)
    await session.request("load-cert", {"type": "X509_CRL", "flag": "NONE", "data": crl})


async def test_the_cache_of_verified_crls_can_be_flushed(session: CharonSession) -> None:
    """charon would go by an older CRL that it has verified once, though it was given a newer one."""
    await session.request("flush-certs", {"type": "X509_CRL"})


async def test_stats_tell_what_limits_are_about(session: CharonSession) -> None:
    """Half-open IKE_SAs and waiting jobs, none at first."""
    assert half_open_and_jobs(await session.request("stats", {})) == (0, 0)


async def test_connections_tell_whether_they_ask_for_a_certificate(session: CharonSession) -> None:
    """One with a pre-shared key does not."""
    for name, auth in (("keys", "psk"), ("certificates", "pubkey")):
        ends = {end: {"auth": auth} for end in ("local", "remote")}
        await session.request("load-conn", {name: {"version": "2", "remote_addrs": ["%any"], **ends}})
    listed = await session.stream("list-conns", {}, "list-conn", lambda one: (one,))
    connections = dict(pair for message in listed for pair in parse_connections(message))
    assert connections == {"keys": False, "certificates": True}


async def test_the_watch_tells_which_charon_it_is(path: Path, telemetry: Telemetry) -> None:
    """Neither of the two is patched."""
    watch = CharonWatch(ViciCharon(path, telemetry), {"dmvpn"}, telemetry)
    task = asyncio.create_task(watch.run())
    try:
        await until(lambda: watch.connected)
        assert (watch.patched, watch.ike_sas) == (False, ())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _watched(
    charon: FakeCharon, telemetry: Telemetry, certificates: CertificateSource | None = None
) -> AsyncIterator[CharonWatch]:
    watch = CharonWatch(ViciCharon(charon.path, telemetry), {"dmvpn"}, telemetry, certificates=certificates)
    task = asyncio.create_task(watch.run())
    try:
        await until(lambda: watch.connected)
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def charon(tmp_path: Path) -> AsyncIterator[FakeCharon]:
    charon = FakeCharon(tmp_path / "charon.vici", patched=True)
    await charon.start()
    yield charon
    await charon.stop()


async def test_the_watch_knows_who_is_where(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Of the DMVPN's own connection only, and how each authenticated."""
    charon.connections = {"dmvpn": {"remote-1": {"class": "pre-shared key"}}, "office": {}}
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "spoke1.example.net"))
        charon.up(FakeSa(2, "203.0.113.2", "laptop.example.net", name="office"))
        address = ip_address("203.0.113.2")
        await until(lambda: len(watch.ike_sas) == 2)
        assert watch.peers_at(address) == {IkePeer("spoke1.example.net", has_certificate=False)}
        assert [sa.unique_id for sa in watch.sas_at(address)] == [1]
        assert [sa.unique_id for sa in watch.our_sas()] == [1]


async def test_a_storm_of_questions_is_no_storm_of_looks(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Who asks while a look is under way shares the next one, and sees what was there when it was asked for."""
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"), told=False)
        before = len(charon.requests)
        await asyncio.gather(*(watch.look() for _ in range(100)))
        assert [name for name, _ in charon.requests[before:]].count("list-sas") <= 2
        assert [sa.unique_id for sa in watch.our_sas()] == [1]


async def test_a_look_that_failed_is_nobodys_look(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Whoever waited for it makes one."""
    async with _watched(charon, telemetry) as watch:
        charon.hang = True
        first, second = (asyncio.create_task(watch.look()) for _ in range(2))
        await until(lambda: watch._looks_begun == 1)  # the second one waits for the first
        first.cancel()
        await until(lambda: watch._looks_begun == 2)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_only_other_ike_sas_are_news(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Traffic and rekeyed children are none."""
    news: list[int] = []
    async with _watched(charon, telemetry) as watch:
        watch.changed = lambda: news.append(1)
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={11: "INSTALLED"}))
        await until(lambda: news)
        charon.rekey_child(1, old=11, new=12)
        await watch.look()
        assert len(news) == 1


class _Bridge:
    """What the bridge knows, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        self.asked += spis
        return dict.fromkeys(spis, der())


async def test_nobody_looks_for_the_certificate_of_a_pre_shared_key(charon: FakeCharon, telemetry: Telemetry) -> None:
    """There is none: a thousand such peers would have the bridge's file read a thousand times."""
    charon.connections = {"dmvpn": {"remote-1": {"class": "pre-shared key"}}}
    charon.up(FakeSa(1, "203.0.113.2", "spoke1.example.net"))
    bridge = _Bridge()
    async with _watched(charon, telemetry, bridge) as watch:
        assert watch.certificates_at(ip_address("203.0.113.2")) == ()
        assert bridge.asked == []


async def test_an_ike_sa_is_ended_by_its_number(charon: FakeCharon, telemetry: Telemetry) -> None:
    """And a look made at once shows that it is gone."""
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: list(watch.our_sas()))
        await watch.end(next(watch.our_sas()))
        await watch.look()
        assert list(watch.our_sas()) == []


async def test_charon_is_given_the_crls_after_each_connect(charon: FakeCharon, telemetry: Telemetry) -> None:
    """One that was restarted has forgotten them."""
    crl = x509.load_pem_x509_crl(crl_pem(7)).public_bytes(Encoding.DER)
    async with _watched(charon, telemetry) as watch:
        await watch.load_crls((crl,))
        assert charon.crls == [crl]
        assert [name for name, _ in charon.requests][-2:] == ["load-cert", "flush-certs"]
        await charon.stop()
        await until(lambda: not watch.connected)
        await charon.start()
        await until(lambda: watch.connected)
        assert charon.crls == [crl, crl]


async def test_without_charon_nothing_can_be_ended(charon: FakeCharon, telemetry: Telemetry) -> None:
    """It is said, and a look shows nobody."""
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: list(watch.our_sas()))
        sa = next(watch.our_sas())
        await charon.stop()
        await until(lambda: not watch.connected)
        with pytest.raises(CharonLost):
            await watch.end(sa)
        await watch.look()
        assert list(watch.our_sas()) == []


async def test_an_invitation_is_what_nhrpd_would_ask(charon: FakeCharon, telemetry: Telemetry) -> None:
    """By the first of the sockets that is there, and for the profile of the interface."""
    inviter = ViciInviter(
        (charon.path.with_name("absent"), charon.path), {"gre1": "dmvpn", "gre2": "other"}, telemetry
    )
    with pytest.raises(CommandFailed):  # charon without patches has no such form of it, and the fake none at all
        await inviter.invite("gre2", ip_address("203.0.113.1"), ip_address("203.0.113.2"))
    (name, message) = charon.requests[-1]
    assert (name, message["child"], message["my-host"], message["other-host"]) == (
        "initiate", b"other", b"203.0.113.1", b"203.0.113.2",
    )  # fmt: skip


async def test_nobody_to_invite_by_is_said(tmp_path: Path, telemetry: Telemetry) -> None:
    """The sockets that were looked for are named."""
    with pytest.raises(CharonLost, match="absent"):
        await ViciInviter((tmp_path / "absent",), {"gre1": "dmvpn"}, telemetry).invite(
            "gre1", ip_address("::1"), ip_address("::1")
        )


async def test_nobody_is_invited_on_an_interface_that_is_not_ours(charon: FakeCharon, telemetry: Telemetry) -> None:
    """A stored peer may be of an interface that the configuration does not have any more."""
    inviter = ViciInviter((charon.path,), {"gre1": "dmvpn"}, telemetry)
    with pytest.raises(CommandFailed, match=r"gre9 is none of nhrp\.interfaces"):
        await inviter.invite("gre9", ip_address("203.0.113.1"), ip_address("203.0.113.2"))


async def test_a_patched_charon_is_recognised(charon: FakeCharon, telemetry: Telemetry) -> None:
    """It knows the event that nhrpd needs."""
    async with _watched(charon, telemetry) as watch:
        assert watch.patched is True


async def test_the_watch_follows_sas_and_charons_restart(charon: FakeCharon, telemetry: Telemetry) -> None:
    """SAs that come are seen; with charon they are gone, and it is found again."""
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}))
        await until(lambda: [sa.unique_id for sa in watch.ike_sas] == [1])
        await charon.stop()
        await until(lambda: not watch.connected)
        assert watch.ike_sas == ()
        charon.sas.clear()
        await charon.start()
        await until(lambda: watch.connected)


async def test_traffic_is_added_up_across_rekeying_and_charons_restart(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """By the last counts in events, of SAs that came and went between two looks too."""
    async with _watched(charon, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}, traffic={2: (10, 1, 20, 2)}))
        await until(lambda: telemetry.value(metrics.SA_BYTES, "203.0.113.2", "in") == 10)
        charon.sas[1].traffic = {2: (15, 2, 20, 2), 3: (1, 1, 0, 0)}
        charon.rekey_child(1, 2, 3)
        await until(lambda: telemetry.value(metrics.SA_BYTES, "203.0.113.2", "in") == 16)
        assert telemetry.value(metrics.SA_PACKETS, "203.0.113.2", "out") == 2
        assert telemetry.value(metrics.SA_EVENTS, "203.0.113.2", "child_rekeyed") == 1
        await charon.stop()
        await until(lambda: not watch.connected)
        charon.sas = {1: FakeSa(1, "203.0.113.2", "CN=spoke1", children={9: "INSTALLED"}, traffic={9: (4, 1, 0, 0)})}
        await charon.start()
        await until(lambda: telemetry.value(metrics.SA_BYTES, "203.0.113.2", "in") == 20)


async def test_what_an_agent_finds_at_its_start_is_not_counted_again(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """The agent before it has counted that."""
    charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}, traffic={2: (10, 1, 20, 2)}))
    async with _watched(charon, telemetry):
        assert telemetry.samples(metrics.SA_BYTES) == {("203.0.113.2", "in"): 0, ("203.0.113.2", "out"): 0}


async def test_the_times_and_algorithms_of_a_peer_are_exported(charon: FakeCharon, telemetry: Telemetry) -> None:
    """One series a peer; how many SAs use what, weak or sound."""
    charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}))
    async with _watched(charon, telemetry):
        expires = telemetry.value(metrics.CHILD_SA_EXPIRES, "203.0.113.2")
        assert expires - telemetry.value(metrics.CHILD_SA_REKEY, "203.0.113.2") == 600
        assert telemetry.value(metrics.SA_ALGORITHMS, "child", "AES_GCM_16-256", "sound") == 1
        assert telemetry.value(metrics.SA_ALGORITHMS, "ike", "ECP_384", "sound") == 1
        assert telemetry.samples(metrics.IKE_SAS_NAT) == {("local",): 0, ("remote",): 0}


async def test_alerts_are_counted_by_kind(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Where charon has them; a kind that we do not know is another one."""
    async with _watched(charon, telemetry):
        sa = {"dmvpn": FakeSa(1, "203.0.113.2", "CN=spoke1").section()}
        charon.raise_event("alert", {"type": "peer-auth-failed", "ike-sa": sa})
        charon.raise_event("alert", {"type": "peer-auth-failed"})
        charon.raise_event("alert", {"type": "of-tomorrow"})
        await until(lambda: telemetry.value(metrics.CHARON_ALERTS, "other"))
        assert telemetry.value(metrics.CHARON_ALERTS, "peer-auth-failed") == 2


async def test_an_event_that_cannot_be_read_stops_nothing(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The look after it shows how things are."""
    async with _watched(charon, telemetry) as watch:
        charon.raise_event("child-updown", {"dmvpn": FakeSa(1, "203.0.113.2", "").section(uniqueid="x")})
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: len(watch.ike_sas) == 1)


@needs_charon()
async def test_a_real_charon_that_is_killed_is_found_again(tmp_path: Path, telemetry: Telemetry) -> None:
    """Its socket's file is still there, and refuses, until the next one makes its own."""
    async with _real(tmp_path) as vici:
        watch = CharonWatch(ViciCharon(vici, telemetry), {"dmvpn"}, telemetry)
        task = asyncio.create_task(watch.run())
        await until(lambda: watch.connected)
    try:
        await until(lambda: not watch.connected)
        assert vici.is_socket()
        async with _real(tmp_path):
            await until(lambda: watch.connected)
            assert telemetry.value(metrics.VICI_RECONNECTS) == 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_charon_that_does_not_answer_is_lost(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Waiting is bounded."""
    charon.hang = True
    async with ViciCharon(charon.path, telemetry, timeout=0.05).session() as session:
        with pytest.raises(CharonLost, match="did not answer"):
            await session.request("version", {})


async def test_a_flood_of_events_loses_the_connection_and_not_the_memory(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """Beyond the bound the state is read anew; the session that is lost says why."""
    async with ViciCharon(charon.path, telemetry, max_waiting_events=10).session() as session:
        await session.register("ike-update")
        for _ in range(12):
            charon.raise_event("ike-update", {})
        await until(lambda: session.lost)
        with pytest.raises(CharonLost, match="more than 10 events"):
            await _drain(session)


async def _drain(session: CharonSession) -> None:
    async for _ in session.events():
        pass


async def test_a_connection_lost_in_a_stream_is_said(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Half a list is no list."""
    async with ViciCharon(charon.path, telemetry).session() as session:
        await session.request("version", {})
        charon.hang = True
        listing = asyncio.create_task(list_sas(session))
        await asyncio.sleep(0)
        await charon.stop()
        with pytest.raises(CharonLost):
            await listing
