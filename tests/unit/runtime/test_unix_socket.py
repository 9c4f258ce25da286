"""Listening on a Unix socket."""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.runtime.control_client import ask, read_status
from dmvpn_agent.runtime.control_socket import ControlSocket, Request
from dmvpn_agent.runtime.document import Document, document
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import SocketInUse, bind
from factories import Clock
from fakes.admission import Admission
from fakes.frr import MemoryStore


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A killed process leaves one behind; the new one has the requested mode."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with bind(path, mode=0o660), socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        client.connect(str(path))


def test_the_socket_of_a_running_process_is_not_replaced(tmp_path: Path) -> None:
    """The second process fails with a message, and the first continues."""
    path = tmp_path / "x.sock"
    with bind(path, mode=0o600), socket.socket(socket.AF_UNIX) as client:
        with pytest.raises(SocketInUse, match=rf"another process listens on {path}"):
            bind(path, mode=0o600)
        client.connect(str(path))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.parent.mkdir() or path.write_text("")])
def test_a_path_that_cannot_be_bound_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The directory is missing, or a file that is not a socket is in its place."""
    path = tmp_path / "run" / "x.sock"
    make(path)
    with pytest.raises(OSError, match=rf"cannot listen: .*{path}"):
        bind(path, mode=0o600)


async def test_a_listener_that_never_started_removes_no_socket_when_it_stops(
    tmp_path: Path, telemetry: Telemetry, clock: Clock
) -> None:
    """A second agent that cannot start must not remove the first one's sockets."""
    path = tmp_path / "x.sock"
    server = bind(path, mode=0o600)
    authorizer = Admission(MemoryStore(), telemetry, clock.both).authorizer
    for second in (NhrpdSocket(path, authorizer, telemetry), ControlSocket(path, _hub, telemetry)):
        with contextlib.suppress(SocketInUse):
            await second.start()
        await second.stop()
        assert path.is_socket()
    server.close()


async def _hub(request: Request) -> Document:
    return document("status/1", {"role": "hub", "asked": [request.command, dict(request.arguments), request.user]})


@pytest.fixture
async def control(tmp_path: Path, telemetry: Telemetry) -> AsyncIterator[Path]:
    control = ControlSocket(tmp_path / "x.sock", _hub, telemetry)
    await control.start()
    yield tmp_path / "x.sock"
    await control.stop()
    assert not (tmp_path / "x.sock").exists()


async def test_a_client_receives_one_document(control: Path) -> None:
    """With what it asked, and its user as the kernel knows it."""
    answer = await ask(control, "peer", {"peer": "spoke1"})
    assert answer["data"]["asked"] == ["peer", {"peer": "spoke1"}, os.getuid()]
    assert (await read_status(control))["role"] == "hub"


@pytest.mark.parametrize("line", [b"", b"\n", b" \n"])
async def test_an_empty_request_is_for_the_status(control: Path, line: bytes) -> None:
    """As `socat - UNIX-CONNECT:control.sock` sends it."""
    assert json.loads(await _sent(control, line))["data"]["asked"][0] == "status"


@pytest.mark.parametrize(
    "line", [b"{\n", b"1\n", b'{"command": 1}\n', b'{"command": "x", "arguments": []}\n', b"[" * 70_000, b"\xff\n"]
)
async def test_a_request_that_is_none_is_answered_by_a_failure(control: Path, line: bytes) -> None:
    """In the form of every answer."""
    answer = json.loads(await _sent(control, line))
    assert (answer["ok"], answer["error"]["code"], answer["data"]) == (False, "usage", None)


async def _sent(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    text = await reader.read()
    writer.close()
    return text
