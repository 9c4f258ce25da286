"""A registry that belongs to the server's user: root's commands and the server use the same files."""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca_registry import PASSPHRASE
from dmvpn_agent.ca import database as database_module
from dmvpn_agent.runtime.owner_rights import Owner, rights_of

#: A user that every distribution has; user and group have one number.
USER = pwd.getpwnam("daemon").pw_uid


def _can_run_here() -> bool:
    """Tell whether that user can read this checkout, which may lie in root's home."""
    if os.geteuid() != 0:
        return False
    with rights_of(Owner(USER, USER)):
        return os.access(database_module.__file__, os.R_OK, effective_ids=True)


pytestmark = pytest.mark.skipif(not _can_run_here(), reason="needs root, and a checkout that other users can read")

PROGRAM = (sys.executable, "-m", "dmvpn_agent.cli")


class Operator:
    """root, in a folder that only root can enter."""

    def __init__(self, folder: Path) -> None:
        self.own = folder / "root"
        self.own.mkdir(mode=0o700)
        self.crls = folder / "crls"
        self.crls.mkdir()
        os.chown(self.crls, USER, USER)
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        os.chown(self.state, USER, USER)
        self.registry = self.state / "registry.sqlite"
        self.passphrase = self.own / "passphrase"
        self.passphrase.write_bytes(PASSPHRASE)
        self.environment = {**os.environ, "DMVPN_CA_DATABASE": str(self.registry), "PYTHONDONTWRITEBYTECODE": "1"}

    def ca(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command, with the passphrase where it takes one."""
        takes = ("--passphrase-file", str(self.passphrase)) if words[0] in {"init", "hub", "node", "revoke"} else ()
        done = subprocess.run([*PROGRAM, "ca", *words, *takes], cwd=self.own, env=self.environment, check=False,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == status, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def init(self) -> None:
        """Make a registry, with a hub."""
        self.ca("init", "--tunnel", "10.255.0.0/24", "--crl-directory", str(self.crls))
        self.ca("hub", "add")


@pytest.fixture
def operator() -> Iterator[Operator]:
    """In a folder of its own: each run of pytest closes its own ones to other users."""
    with tempfile.TemporaryDirectory(prefix="dmvpn-ca-") as folder:
        Path(folder).chmod(0o755)
        yield Operator(Path(folder))


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        one.name: (one.stat().st_uid, stat.S_IMODE(one.stat().st_mode)) for one in folder.iterdir() if one.is_file()
    }


def test_root_leaves_files_that_the_server_can_use(operator: Operator) -> None:
    """The registry and the CRL are the owner's; what root asked for by name is root's."""
    operator.init()
    operator.ca("revoke", "Hub-1")
    assert owners(operator.state) == {"registry.sqlite": (USER, 0o600)}
    assert owners(operator.crls) == {"dmvpn-ca.crl": (USER, 0o644)}
    assert owners(operator.own) == {"Hub-1.pfx": (0, 0o600), "passphrase": (0, 0o644)}


def test_root_follows_no_link_of_the_server(operator: Operator) -> None:
    """A link in place of the registry leads root to no file that the server's user may not open itself."""
    operator.init()
    secret = operator.own / "secret"
    secret.write_bytes(operator.registry.read_bytes())
    operator.registry.unlink()
    operator.registry.symlink_to(secret)
    assert "must be readable, and its folder writable, for daemon" in operator.ca("list", status=1).stderr
    operator.ca("site", "add", "FIN", status=1)
    assert secret.stat().st_uid == 0


def test_root_publishes_crls_only_where_the_server_could(operator: Operator) -> None:
    """The folder's name is in the registry, which the server's user can change; one on the command line is root's."""
    operator.init()
    closed = operator.own / "closed"
    closed.mkdir()
    operator.ca("set", "--crl-directory", str(closed))
    refused = operator.ca("revoke", "Hub-1", status=1).stderr
    assert "is not published" in refused
    assert "directory that daemon may write to" in refused
    assert list(closed.iterdir()) == []
    operator.ca("crl", "--directory", str(closed), "--passphrase-file", str(operator.passphrase))
    assert owners(closed) == {"dmvpn-ca.crl": (0, 0o644)}


def test_a_server_that_root_starts_becomes_the_owner(operator: Operator) -> None:
    """It reads the passphrase as root, and then has no right of root's; its changes are seen by root's commands."""
    operator.init()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(operator.crls / "notify"))
        (operator.crls / "notify").chmod(0o777)
        environment = {**operator.environment, "NOTIFY_SOCKET": str(operator.crls / "notify")}
        process = subprocess.Popen(
            [*PROGRAM, "ca", "serve", "--listen", f"127.0.0.1:{port}", "--name", "localhost", "--passphrase-file",
             str(operator.passphrase)], env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            ready.settimeout(60)
            assert b"READY=1" in ready.recv(4096)
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            status = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
            assert status["Uid"] == status["Gid"] == [str(USER)] * 4
            assert "0" not in status["Groups"]
            assert status["CapEff"] == ["0" * 16]
            operator.ca("site", "add", "FIN")
            audit = json.loads(operator.ca("list", "audit", "--json").stdout)["data"]["audit"]
            assert {"service key", "site add"} <= {one["action"] for one in audit}
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert owners(operator.state) == {"registry.sqlite": (USER, 0o600)}


@pytest.mark.skipif(shutil.which("capsh") is None, reason="needs capsh")
def test_a_root_without_the_right_to_become_the_owner_says_so(operator: Operator) -> None:
    """A unit that still runs the command as root, with few capabilities, is refused with what to change."""
    operator.init()
    done = subprocess.run(
        ["capsh", "--drop=cap_setuid,cap_setgid", "--", "-c", 'exec "$@"', "sh", *PROGRAM, "ca", "list"],
        env=operator.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "run the command as daemon; in a unit of systemd: User=" in done.stderr


def test_a_program_that_the_owner_cannot_read_says_so(operator: Operator) -> None:
    """Nothing is opened with an import half done."""
    operator.init()
    hidden = operator.own / "agent"
    shutil.copytree(Path(database_module.__file__).parents[2], hidden, ignore=shutil.ignore_patterns("__pycache__"))
    operator.environment["PYTHONPATH"] = os.pathsep.join((str(hidden), os.environ.get("PYTHONPATH", "")))
    assert "who cannot read this program" in operator.ca("list", status=1).stderr
