"""A socket as the doctor sees it: by the rights of who uses it, as the kernel judges them."""

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

pytestmark = [pytest.mark.contract, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")]

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
    """A socket that somebody listens on, in directories that anybody may enter."""
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
def test_a_socket_is_refused_to_who_may_not_open_it(path: Path, mode: int, user: User, refused: bool) -> None:
    """Though root, who looks, may. Groups count."""
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
def test_a_group_that_may_open_a_socket_and_need_not_is_named(
    path: Path, mode: int, group: str, is_open: bool, as_root: bool
) -> None:
    """Whoever looks; a group that the system does not have may open nothing."""
    path.chmod(mode)
    shutil.chown(path, "root", group)
    with acting_as(None if as_root else User(4242, 4242)):
        assert check_socket(path, not_for="nogroup").open_to == ("nogroup" if is_open else "")
        assert check_socket(path, not_for="no-group-of-that-name").open_to == ""
        assert check_socket(path).open_to == ""


def test_a_directory_that_may_not_be_entered_refuses(path: Path) -> None:
    """Whatever the socket's own mode is."""
    path.chmod(0o777)
    path.parent.chmod(0o700)
    assert check_socket(path, "nhrpd", STRANGER).refused


def test_who_looks_is_itself_again_afterwards(path: Path) -> None:
    """User, group and groups."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    with acting_as(MEMBER):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (65534, 65534, [4242])
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_the_user_of_who_listens_is_known(path: Path) -> None:
    """With all its groups."""
    path.parent.chmod(0o777)
    other = path.with_name("other")
    with subprocess.Popen([sys.executable, "-c", LISTEN, str(other)]) as process:
        try:
            until_now(other.is_socket)
            until_now(lambda: user_behind(other))
            assert user_behind(other) == MEMBER
        finally:
            process.kill()


def test_who_may_open_everything_is_refused_nothing(path: Path) -> None:
    """As nhrpd while it has CAP_DAC_OVERRIDE."""
    user = user_behind(path)
    assert user == ROOT
    path.chmod(0)
    assert not check_socket(path, "nhrpd", user).refused


def test_who_is_not_root_speaks_only_for_itself(path: Path) -> None:
    """It cannot try by the rights of others."""
    path.chmod(0o600)
    with acting_as(STRANGER):
        view = check_socket(path, "nhrpd", MEMBER)
    assert (view.served, view.refused) == (None, "")


def test_what_cannot_be_seen_is_not_taken_for_missing(path: Path) -> None:
    """Its directory may not be entered by who looks."""
    path.parent.chmod(0o700)
    with acting_as(STRANGER):
        view = check_socket(path)
    assert (view.there, view.served) == (True, None)


def test_nobody_listens_nobody_is_known(tmp_path: Path) -> None:
    """Nor is a user that the system does not have."""
    assert user_behind(tmp_path / "absent") is None
    assert user_named("nobody-of-that-name", "root") is None
    assert user_named("nobody", "no-group-of-that-name") is None


def test_a_service_has_its_own_group_first() -> None:
    """And keeps those of its user."""
    user = user_named("nobody", "root")
    assert user is not None
    assert (user.uid, user.gid, 0 in user.groups) == (65534, 0, True)
