"""Which program answers at a TCP port that the configuration names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from dmvpn_agent.crls.mirror import CrlMirror
from dmvpn_agent.doctor import inspect_ports
from dmvpn_agent.doctor.inspect_ports import served
from dmvpn_agent.doctor.node import PortName
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.exposition import Exposition
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.telemetry import Telemetry
from page_process import free_endpoint, page
from pki import server_files

METRICS = (PortName.AGENT, PortName.BRIDGE)


@contextmanager
def metrics(endpoint: Endpoint, access: HttpAccess = HttpAccess()) -> Iterator[None]:  # noqa: B008  frozen
    server = Exposition(endpoint, access, Telemetry(), Readiness())
    server.start()
    try:
        yield
    finally:
        server.stop()


async def answers(endpoint: Endpoint, access: HttpAccess = HttpAccess()) -> set[PortName]:  # noqa: B008  frozen
    """The ports for which the doctor takes what answers."""
    found = {name: await served(name, endpoint, access) for name in PortName}
    assert None not in found.values()
    return {name for name, is_ours in found.items() if is_ours}


async def test_each_of_our_ports_is_known_by_what_it_serves(tmp_path: Path) -> None:
    """The metrics, the page and the mirror of CRLs; nothing listens before and after."""
    endpoint, telemetry = free_endpoint(), Telemetry()
    with metrics(endpoint):
        assert await answers(endpoint) == set(METRICS)
    mirror = CrlMirror(endpoint, tuple, telemetry)
    mirror.start()
    assert await answers(endpoint) == {PortName.MIRROR}
    mirror.stop()
    assert [await served(name, endpoint) for name in PortName] == [None] * len(PortName)
    async with page(tmp_path / "none") as client:
        shown = Endpoint("127.0.0.1", int(client.url.rpartition(":")[2]))
        assert await answers(shown) == {PortName.PAGE}


async def test_a_password_a_token_and_names_do_not_hide_a_port(tmp_path: Path) -> None:
    """The doctor knows none of them."""
    (tmp_path / "users").write_text("eve:secret\n")
    access = HttpAccess(users=tmp_path / "users")
    endpoint = free_endpoint()
    with metrics(endpoint, access):
        assert await answers(endpoint, access) == set(METRICS)
    async with page(tmp_path / "none", access=access, names=frozenset({"dmvpn.example.org"})) as client:
        shown = Endpoint("127.0.0.1", int(client.url.rpartition(":")[2]))
        assert await answers(shown, access) == {PortName.PAGE}


@pytest.mark.parametrize("clients", [False, True], ids=["any client", "clients with a certificate"])
async def test_tls(tmp_path: Path, clients: bool) -> None:
    """Certificates are not checked; one that clients must show too does not make it another program's port."""
    certificate, key = server_files(tmp_path)
    access = HttpAccess(certificate, key, client_ca=certificate if clients else None)
    endpoint = free_endpoint()
    with metrics(endpoint, access):
        assert PortName.AGENT in await answers(endpoint, access)
        assert await served(PortName.AGENT, endpoint) is False
    with metrics(endpoint):
        assert await served(PortName.AGENT, endpoint, access) is False
    (tmp_path / "other").mkdir()
    other = HttpAccess(*server_files(tmp_path / "other"), client_ca=access.client_ca)
    if clients:
        with metrics(endpoint, other):
            assert await served(PortName.AGENT, endpoint, access) is False


@asynccontextmanager
async def another_program(answer: bytes, *, closes: bool = True) -> AsyncIterator[Endpoint]:
    endpoint = free_endpoint()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if not closes:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(reply, endpoint.host, endpoint.port):
        yield endpoint


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nfrr_up 1\n" + b"x" * 100_000,
        b"HTTP/1.0 404 Not Found\r\n\r\n<h1>404</h1>",
        b"HTTP/1.0 404 Not Found\r\n\r\nHere are: \xff\xfe\n",
        b"HTTP/1.0 404 Not Found\r\n\r\nHere are: /other\n",
    ],
)
async def test_another_program_may_answer_anything(answer: bytes) -> None:
    """Nothing of it is taken for one of ours."""
    async with another_program(answer) as endpoint:
        assert await answers(endpoint) == set()


async def test_another_program_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor does not wait for ever."""
    monkeypatch.setattr(inspect_ports, "TIMEOUT", 0.2)
    async with another_program(b"", closes=False) as endpoint:
        assert await served(PortName.PAGE, endpoint) is False
