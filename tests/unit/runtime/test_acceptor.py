"""Which connection makes room, and what happens without a file descriptor."""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.runtime import acceptor, metrics
from dmvpn_agent.runtime.acceptor import Acceptor, Source, makes_room, source_of
from dmvpn_agent.runtime.control_socket import ControlSocket, Request
from dmvpn_agent.runtime.document import Document, document
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import MAX_PATH, bind
from fakes.waiting import until

FRR, NHRPD = 100, 1000


@dataclass(frozen=True)
class One:
    source: Source
    engaged: bool


OTHERS = st.lists(st.builds(One, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans()), min_size=3)


@given(OTHERS, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans(), st.data())
def test_nhrpd_keeps_its_connection_whatever_other_users_do(
    others: list[One], newcomer: Source, engaged: bool, data: st.DataObject
) -> None:
    """If another user has more connections than nhrpd; also before nhrpd has sent a request."""
    nhrpd = One((FRR, NHRPD), engaged)
    held = list(others)
    held.insert(data.draw(st.integers(0, len(held))), nhrpd)
    if max(sum(other.source[0] == user for other in others) for user in (1, 2, 3)) > 1:
        assert makes_room(held, newcomer) is not nhrpd


@given(OTHERS)
def test_nhrpd_can_always_connect(others: list[One]) -> None:
    """Whatever the other connections have sent."""
    if len({other.source[0] for other in others}) < len(others):
        assert makes_room(others, (FRR, NHRPD)) is not None


def test_of_one_process_unused_connections_make_room_and_then_the_new_one_is_refused() -> None:
    """A connection in use is never closed for another of the same process."""
    used, unused = One((1, 1), True), One((1, 1), False)
    assert makes_room([used, unused, used], (1, 1)) is unused
    assert makes_room([used, used], (1, 1)) is None


async def test_the_source_of_a_connection_is_its_user_and_process(tmp_path: Path) -> None:
    """An abstract address of the client makes no difference."""
    with bind(tmp_path / "x.sock", mode=0o600) as listener, socket.socket(socket.AF_UNIX) as client:
        client.bind(b"\0dmvpn-test-%d" % os.getpid())
        client.connect(str(tmp_path / "x.sock"))
        accepted, _ = listener.accept()
        with accepted:
            assert source_of(accepted) == (os.getuid(), os.getpid())


@contextmanager
def _no_descriptor_left() -> Iterator[None]:
    """Keep this process from opening another file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("reserve", [0, 1])
async def test_without_a_descriptor_it_uses_its_reserve_and_then_pauses(
    reserve: int, tmp_path: Path, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not retry without pause; when there is a descriptor it continues."""
    monkeypatch.setattr(acceptor, "PAUSE", 0.02)
    accepted: list[socket.socket] = []

    def take(connection: socket.socket) -> bool:
        accepted.append(connection)
        return True

    accepting = Acceptor("events", take, telemetry, reserve=reserve)
    listener = bind(tmp_path / "x.sock", mode=0o600)
    accepting.start(listener)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    with _no_descriptor_left():
        for client in clients:
            client.connect(str(tmp_path / "x.sock"))
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(accepted) == reserve
        assert telemetry.value(metrics.ACCEPT_FAILURES, "events") == 1 + reserve
        await until(lambda: telemetry.value(metrics.ACCEPT_FAILURES, "events") > 2 + reserve)
        assert len(accepted) == reserve
    await until(lambda: len(accepted) == 3)
    accepting.stop()
    for one in (listener, *clients, *accepted):
        one.close()


async def test_a_client_that_does_not_read_the_state_is_closed(tmp_path: Path, telemetry: Telemetry) -> None:
    """Reading one octet now and then is not enough."""

    async def answer(_: Request) -> Document:
        return document("x/1", "x" * 5_000_000)

    control = ControlSocket(tmp_path / "x.sock", answer, telemetry, timeout=0.2)
    await control.start()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(tmp_path / "x.sock"))
        slow.send(b"\n")
        slow.setblocking(False)
        loop, taken = asyncio.get_running_loop(), 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                taken += len(await loop.sock_recv(slow, 1))
                slow.send(b"x")
                await asyncio.sleep(0.01)
        assert taken < 1000
    await control.stop()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("x" * 200, f"the kernel allows {MAX_PATH}"),
        ("missing/x.sock", "missing is not a directory: create it"),
        ("file", "a file that is not a socket is in its place: remove it"),
    ],
)
def test_a_path_that_cannot_be_bound_says_what_to_do(place: str, words: str, tmp_path: Path) -> None:
    """The error names the configured path."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=words) as error:
        bind(tmp_path / place, mode=0o600)
    assert error.value.filename == str(tmp_path / place)
    assert error.value.errno in {errno.ENAMETOOLONG, errno.ENOENT, errno.EADDRINUSE}
