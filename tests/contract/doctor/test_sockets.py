"""A socket, inspected with the rights of the program that uses it, as the kernel enforces them."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmvpn_agent.doctor.sockets import ROOT, User, acting_as, check_socket, user_behind, user_named
from fakes.waiting import until_now

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as another user"),
]

STRANGER = User(65534, 65534)
MEMBER = User(65534, 65534, (4242,))
LISTEN = """
import os, socket, sys, time
os.setgroups([4242]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A socket with a listener, in directories that every user may enter."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


@pytest.mark.parametrize(
    ("mode", "user", "refused"),
    [(0o600, STRANGER, True), (0o660, STRANGER, True), (0o660, MEMBER, False), (0o666, STRANGER, False)],
)
def test_a_socket_that_its_program_may_not_open_is_refused(path: Path, mode: int, user: User, refused: bool) -> None:
    """Although root, who inspects it, may open it. Supplementary groups count."""
    path.chmod(mode)
    os.chown(path, 0, 4242)
    view = check_socket(path, "nhrpd", user)
    assert view.served is True
    assert view.refused == (f"nhrpd ({user})" if refused else "")


@pytest.mark.parametrize("as_root", [True, False], ids=["tried", "by the mode"])
@pytest.mark.parametrize(
    ("mode", "group", "is_open"),
    [(0o770, "nogroup", True), (0o660, "root", False), (0o666, "root", True), (0o600, "nogroup", False)],
)
def test_a_group_that_must_not_open_a_socket_is_named(
    path: Path, mode: int, group: str, is_open: bool, as_root: bool
) -> None:
    """For root and for other users. An unknown group may open no socket."""
    path.chmod(mode)
    shutil.chown(path, "root", group)
    with acting_as(None if as_root else User(4242, 4242)):
        assert check_socket(path, not_for="nogroup").open_to == ("nogroup" if is_open else "")
        assert check_socket(path, not_for="no-group-of-that-name").open_to == ""
        assert check_socket(path).open_to == ""


def test_a_directory_can_refuse_a_socket(path: Path) -> None:
    """Whatever the mode of the socket."""
    path.chmod(0o777)
    path.parent.chmod(0o700)
    assert check_socket(path, "nhrpd", STRANGER).refused


def test_acting_as_another_user_ends_with_the_block(path: Path) -> None:
    """User, group and supplementary groups are as before."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    with acting_as(MEMBER):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (65534, 65534, [4242])
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_the_user_of_the_listener_is_known(path: Path) -> None:
    """With its supplementary groups."""
    path.parent.chmod(0o777)
    other = path.with_name("other")
    with subprocess.Popen([sys.executable, "-c", LISTEN, str(other)]) as process:
        try:
            until_now(other.is_socket)
            until_now(lambda: user_behind(other))
            assert user_behind(other) == MEMBER
        finally:
            process.kill()


def test_a_program_that_may_open_any_file_is_never_refused(path: Path) -> None:
    """As nhrpd while it has CAP_DAC_OVERRIDE."""
    user = user_behind(path)
    assert user == ROOT
    path.chmod(0)
    assert not check_socket(path, "nhrpd", user).refused


def test_a_doctor_without_root_tests_its_own_rights_only(path: Path) -> None:
    """It cannot act as another user."""
    path.chmod(0o600)
    with acting_as(STRANGER):
        view = check_socket(path, "nhrpd", MEMBER)
    assert (view.served, view.refused) == (None, "")


def test_an_unreadable_socket_is_not_missing(path: Path) -> None:
    """The doctor may not enter its directory."""
    path.parent.chmod(0o700)
    with acting_as(STRANGER):
        view = check_socket(path)
    assert (view.there, view.served) == (True, None)


def test_a_socket_without_a_listener_has_no_user(tmp_path: Path) -> None:
    """Unknown users and groups are ``None``."""
    assert user_behind(tmp_path / "absent") is None
    assert user_named("nobody-of-that-name", "root") is None
    assert user_named("nobody", "no-group-of-that-name") is None


def test_a_service_has_its_own_group_first() -> None:
    """And those of its user."""
    user = user_named("nobody", "root")
    assert user is not None
    assert (user.uid, user.gid, 0 in user.groups) == (65534, 0, True)
