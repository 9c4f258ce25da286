"""``dmvpn-agent ca token`` and ``ca serve``, as an operator runs them."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ca_registry import PASSPHRASE, make_registry
from dmvpn_agent.ca import keys
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.cli.main import main
from dmvpn_agent.runtime.clocks import utc_now


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(keys, "_ROUNDS", 1000)
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    place = tmp_path / "registry.sqlite"
    with make_registry(place, now=utc_now()).writing() as connection:
        add_site(connection, NewSite("FIN"), None)
        add_node(connection, "FIN")
    monkeypatch.setenv("DMVPN_CA_DATABASE", str(place))
    return place


def test_a_token_is_shown_once(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The registry has only its digest."""
    assert main(["ca", "token", "fin-1", "--hours", "2", "--json", "--database", str(registry)]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert (data["node"], len(data["token"])) == ("FIN-1", 20)
    assert data["token"].encode() not in registry.read_bytes()
    assert main(["ca", "token", "fin-1", "--database", str(registry)]) == 0
    printed = capsys.readouterr().out
    (secret,) = [line.split()[1] for line in printed.splitlines() if line.startswith("token ")]
    assert printed.count(secret) == 1  # not in the command, which others see
    assert main(["ca", "token", "SWE-1", "--database", str(registry)]) == 1
    assert main(["ca", "token", "FIN-1", "--hours", "0", "--database", str(registry)]) == 2


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--name", "no name"],
        ["--name", "x", "--tls-key", "key"],
        ["--tls-certificate", "a", "--tls-key", "b", "--scep"],
    ],
)
def test_a_server_needs_a_name(registry: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Or a certificate of the operator; refused before anything is opened."""
    assert main(["ca", "serve", "--database", str(registry), "--passphrase-file", "none", *words]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_it_serves_until_it_is_stopped(registry: Path) -> None:
    """With the passphrase from a descriptor; ready when it says so, done at SIGTERM."""
    port = random.randrange(20000, 32000)
    words = ["ca", "serve", "--listen", f"127.0.0.1:{port}", "--name", "127.0.0.1", "--passphrase-fd", "0"]
    with (registry.parent / "passphrase").open("rb") as passphrase, ready_socket(registry.parent) as ready:
        environment = {**os.environ, "NOTIFY_SOCKET": ready.getsockname()}
        process = subprocess.Popen(
            [sys.executable, "-m", "dmvpn_agent.cli", *words], stdin=passphrase, env=environment,
            stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            ready.settimeout(60)
            assert ready.recv(64) == b"READY=1"
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, b"")


def ready_socket(folder: Path) -> socket.socket:
    """What the service manager listens on."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(folder / "notify"))
    return found
