"""What the agent relies on in charon: one suite for the fake and the real one."""

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
    """charon answers with an error."""
    with pytest.raises(CommandFailed, match="does not know"):
        await session.request("make-coffee", {})
    assert await session.request("version", {})


async def test_charon_knows_the_events_of_unpatched_strongswan(session: CharonSession) -> None:
    """It does not know the one of Alpine's patches."""
    for event in ("ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey"):
        assert await session.register(event)
    assert not await session.register("child-state-installed")


async def test_there_are_no_sas_at_first(session: CharonSession) -> None:
    """The list of all IKE_SAs, and of an unknown unique id, is empty."""
    assert await list_sas(session) == []
    assert await list_sas(session, ike_id=4711) == []


async def test_terminating_an_unknown_ike_sa_fails(session: CharonSession) -> None:
    """charon's text says that there is no such SA."""
    with pytest.raises(CommandFailed, match="no matching SAs"):
        await commands.terminate(session, ike_id=4711)


async def test_answers_keep_their_order(session: CharonSession) -> None:
    """Commands sent together, streaming ones among them, each get their own answer."""
    answers = await asyncio.gather(
        session.request("version", {}), list_sas(session), session.request("version", {}), list_sas(session)
    )
    assert (answers[1], answers[3]) == ([], [])
    assert text(answers[0], "version")
    assert text(answers[2], "version")


async def test_input_that_is_not_vici_closes_the_connection(path: Path) -> None:
    """charon closes the connection without an answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write((600 * 1024).to_bytes(4, "big") + b"nonsense")
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_certificates_are_listed_as_der(session: CharonSession) -> None:
    """``list-certs`` returns each certificate byte for byte."""
    pem = x509.load_der_x509_certificate(der()).public_bytes(Encoding.PEM)
    await session.request("load-cert", {"type": "X509", "flag": "NONE", "data": pem})
    assert await commands.list_certificates(session) == [der()]


async def test_a_crl_is_loaded_as_der(session: CharonSession) -> None:
    """charon accepts the bytes that the agent read from a DER or PEM file."""
    crl = x509.load_pem_x509_crl(crl_pem(7)).public_bytes(Encoding.DER)
    await commands.load_crl(session, crl)


async def test_a_value_too_long_for_vici_fails_and_the_connection_goes_on(session: CharonSession) -> None:
    """A value's length has 16 bits: a CRL of some 1,700 entries is too long."""
    for size in (MAX_VALUE + 1, 5_000_000):
        with pytest.raises(CommandFailed, match="does not fit"):
            await commands.load_crl(session, bytes(size))
    assert await session.request("stats", {})


async def test_ca_certificates_are_listed_separately(session: CharonSession) -> None:
    """charon lists those that were loaded and those that peers sent, such as a peer's intermediate CA."""
    pem = authority_pem()
    await session.request("load-cert", {"type": "X509", "flag": "CA", "data": pem})
    authority = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert await commands.list_authorities(session) == [authority]


async def test_the_cache_of_verified_crls_can_be_flushed(session: CharonSession) -> None:
    """Otherwise charon keeps using an older CRL that it verified once, although a newer one was loaded."""
    await commands.flush_crls(session)


async def test_stats_have_the_half_open_ike_sas_and_the_waiting_jobs(session: CharonSession) -> None:
    """There are none at first."""
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


async def test_connections_are_listed_with_their_method(session: CharonSession) -> None:
    """It is public key only if every round is; a round whose ``auth`` is not set accepts a pre-shared key too."""
    for name, (rounds, _) in METHODS.items():
        remote = {f"remote-{number}": {"auth": auth} if auth else {} for number, auth in enumerate(rounds)}
        load: Section = {"version": "2", "remote_addrs": ["%any"], "local": {"auth": "psk"}, **remote}
        await session.request("load-conn", {name: load})
    connections = {one.name: one.authentication for one in await commands.list_connections(session)}
    assert {name: connections[name] for name in METHODS} == {name: method for name, (_, method) in METHODS.items()}


async def test_the_watch_reports_an_unpatched_charon(path: Path, telemetry: Telemetry) -> None:
    """Neither the fake nor the real one has Alpine's patches."""
    async with watched(path, telemetry) as watch:
        assert (watch.patched, watch.ike_sas) == (False, ())
