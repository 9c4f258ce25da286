"""What we take for granted of charon: one suite for the fake one and for the real one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.charons import needs_charon, real_charon
from contract.watched import watched
from dmvpn_agent.charon import commands
from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.sa import Authentication
from dmvpn_agent.charon.sa_reader import Load
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.charon.vici import MAX_VALUE, Section, text
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import authority_pem, crl_pem, der
from fakes.charon import FakeCharon

pytestmark = pytest.mark.contract


@asynccontextmanager
async def _fake(folder: Path) -> AsyncIterator[Path]:
    charon = FakeCharon(folder / "charon.vici")
    await charon.start()
    try:
        yield charon.path
    finally:
        await charon.stop()


KINDS = [pytest.param(_fake, id="fake"), pytest.param(real_charon, id="real", marks=needs_charon())]


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
    assert await list_sas(session, ike_id=4711) == []


async def test_terminating_nothing_fails_with_words(session: CharonSession) -> None:
    """charon says that there is no such SA."""
    with pytest.raises(CommandFailed, match="no matching SAs"):
        await commands.terminate(session, ike_id=4711)


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
    assert await commands.list_certificates(session) == [der()]


async def test_a_crl_is_taken_as_der(session: CharonSession) -> None:
    """As a file of DER or PEM was read."""
    crl = x509.load_pem_x509_crl(crl_pem(7)).public_bytes(Encoding.DER)
    await commands.load_crl(session, crl)


async def test_what_is_too_long_for_vici_fails_and_nothing_else_does(session: CharonSession) -> None:
    """A value's length has 16 bits: a CRL of some 1,700 entries is too long, and the connection goes on."""
    for size in (MAX_VALUE + 1, 5_000_000):
        with pytest.raises(CommandFailed, match="does not fit"):
            await commands.load_crl(session, bytes(size))
    assert await session.request("stats", {})


async def test_ca_certificates_are_listed_by_themselves(session: CharonSession) -> None:
    """Those that charon was given, and what peers showed it: a peer's intermediate CA is found there."""
    pem = authority_pem()
    await session.request("load-cert", {"type": "X509", "flag": "CA", "data": pem})
    authority = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert await commands.list_authorities(session) == [authority]


async def test_the_cache_of_verified_crls_can_be_flushed(session: CharonSession) -> None:
    """charon would go by an older CRL that it has verified once, though it was given a newer one."""
    await commands.flush_crls(session)


async def test_stats_tell_what_limits_are_about(session: CharonSession) -> None:
    """Half-open IKE_SAs and waiting jobs, none at first."""
    assert await commands.read_load(session) == Load(half_open=0, jobs=0)


METHODS: dict[str, tuple[tuple[str, ...], Authentication]] = {
    "certificates": (("pubkey",), Authentication.PUBLIC_KEY),
    "keys": (("psk",), Authentication.PRE_SHARED_KEY),
    "unset": (("",), Authentication.OTHER),
    "no round": ((), Authentication.OTHER),
    "extended": (("eap-md5",), Authentication.OTHER),
    "XAuth": (("xauth",), Authentication.OTHER),
    "two certificates": (("pubkey", "pubkey"), Authentication.PUBLIC_KEY),
    "a certificate and a key": (("pubkey", "psk"), Authentication.OTHER),
    "a key and a certificate": (("psk", "pubkey"), Authentication.OTHER),
    "a certificate and extended": (("pubkey", "eap-md5"), Authentication.OTHER),
}


async def test_connections_tell_how_they_authenticate_their_peers(session: CharonSession) -> None:
    """By certificate only where every round is; one whose ``auth`` is not set takes a pre-shared key too."""
    for name, (rounds, _) in METHODS.items():
        remote = {f"remote-{number}": {"auth": auth} if auth else {} for number, auth in enumerate(rounds)}
        load: Section = {"version": "2", "remote_addrs": ["%any"], "local": {"auth": "psk"}, **remote}
        await session.request("load-conn", {name: load})
    connections = {one.name: one.authentication for one in await commands.list_connections(session)}
    assert {name: connections[name] for name in METHODS} == {name: method for name, (_, method) in METHODS.items()}


async def test_the_watch_tells_which_charon_it_is(path: Path, telemetry: Telemetry) -> None:
    """Neither of the two is patched."""
    async with watched(path, telemetry) as watch:
        assert (watch.patched, watch.ike_sas) == (False, ())
