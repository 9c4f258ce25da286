"""Listening on a Unix socket."""

import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.runtime.control_socket import ControlSocket, read_status
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
    for second in (NhrpdSocket(path, authorizer, telemetry), ControlSocket(path, dict, telemetry)):
        with contextlib.suppress(SocketInUse):
            await second.start()
        await second.stop()
        assert path.is_socket()
    server.close()


async def test_each_client_receives_the_state(tmp_path: Path, telemetry: Telemetry) -> None:
    """One JSON document a connection."""
    control = ControlSocket(tmp_path / "x.sock", lambda: {"role": "hub"}, telemetry)
    await control.start()
    assert await read_status(tmp_path / "x.sock") == {"role": "hub"}
    await control.stop()
    assert not (tmp_path / "x.sock").exists()
