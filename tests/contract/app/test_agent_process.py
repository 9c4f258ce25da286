"""The agent as a process: signals, restarts, and a second one on the same sockets."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.agent import TODAY, Agent
from dmvpn_agent.cli.main import main
from factories import authority_pem, crl_pem
from fakes.waiting import until_now


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.kill()


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(timeout=30)


def test_an_agent_without_anything_around_it_decides(agent: Agent) -> None:
    """No vtysh, no charon, no tunnel: nhrpd is answered all the same, and SIGTERM ends it cleanly."""
    process = agent.start()
    agent.wait_for("agent_ready")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert [peer["protocol_address"] for peer in agent.status()["peers"]] == ["10.255.0.2"]
    agent.wait_for("nhrpd_unavailable")
    assert _end(process, signal.SIGTERM) == 0
    assert not (agent.directory / "nhrp.sock").exists()
    assert not agent.events("failed")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_service_manager_is_notified_when_nhrpd_can_connect(
    agent: Agent, abstract: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before: FRR is started after that."""
    path = str(agent.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket(socket.AF_UNIX) as nhrpd:
        manager.settimeout(30)
        manager.bind(f"\0{path}" if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{path}" if abstract else path)
        agent.start()
        assert manager.recv(100) == b"READY=1"
        nhrpd.connect(str(agent.directory / "nhrp.sock"))


def test_an_absent_service_manager_stops_nothing(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and nhrpd is answered."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(agent.directory / "nowhere"))
    agent.start()
    agent.wait_for("ready_not_notified")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"


def test_what_was_recorded_is_replayed(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is in the file when it was answered, so that a killed agent leaves it whole."""
    recording = agent.directory / "recording"
    process = agent.start("--record", str(recording))
    agent.wait_for("agent_ready")
    agent.ask()
    until_now(lambda: recording.read_bytes().endswith(b"\n"))
    _end(process, signal.SIGKILL)
    assert main(["replay", str(recording), "--config", str(agent.config)]) == 0
    assert capsys.readouterr().out == "1 events: 1 same.\n"


def test_a_killed_agent_knows_its_peers_after_the_restart(agent: Agent) -> None:
    """The stale sockets are replaced, and the peer is there without having asked again."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    until_now(lambda: agent.status()["peers"])
    _end(process, signal.SIGKILL)
    agent.start()
    agent.wait_for("agent_ready", 2)
    assert len(agent.status()["peers"]) == 1
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"


def test_a_second_agent_does_not_start_and_harms_nothing(agent: Agent) -> None:
    """It says whose socket is in the way and exits 1; the first goes on serving on its sockets."""
    agent.start()
    agent.wait_for("agent_ready")
    assert agent.start().wait(timeout=30) == 1
    (failure,) = agent.events("start_failed")
    assert "another process listens on" in failure["why"]
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert len(agent.status()["peers"]) == 1


def _spoil(config: str) -> str:
    return config.replace("10.255.0.0/24", "10.255.0.1/24")


def _narrow(config: str) -> str:
    return config.replace("10.255.0.0/24", "10.1.0.0/24")


@pytest.mark.parametrize(
    ("change", "told", "result"), [(_spoil, "config_refused", b"accept"), (_narrow, "config_reloaded", b"deny")]
)
def test_a_reload_takes_a_good_configuration_and_no_other(
    agent: Agent, change: Callable[[str], str], told: str, result: bytes
) -> None:
    """A bad one is told and the old one stays in force; a good one judges the next question, and the peers."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    agent.config.write_text(change(agent.config.read_text()))
    process.send_signal(signal.SIGHUP)
    agent.wait_for(told)
    assert agent.ask() == b"eventid=1\nresult=" + result + b"\n\n"
    assert len(agent.status()["peers"]) == (1 if result == b"accept" else 0)


def test_a_reload_that_asks_for_crls_throws_nobody_out(agent: Agent) -> None:
    """The CRLs that it names come into force with it."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    files = {name: agent.directory / name for name in ("ca.pem", "ca.crl")}
    files["ca.pem"].write_bytes(authority_pem())
    files["ca.crl"].write_bytes(crl_pem(7, update=TODAY))
    rows = f'ca_certificates = ["{files["ca.pem"]}"]\ncrls = ["{files["ca.crl"]}"]\nrequire_crl = true\n'
    agent.config.write_text(agent.config.read_text().replace("[policy]\n", f"[policy]\n{rows}"))
    process.send_signal(signal.SIGHUP)
    agent.wait_for("trust_changed")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert agent.status()["trust"]["authorities"] == ["CN=test CA"]
    assert agent.events("peer_revoked") == []


def test_another_tunnel_interface_waits_for_a_restart(agent: Agent) -> None:
    """A reload binds nobody on an interface whose state nobody watches; it says that a restart is needed."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.config.write_text(agent.config.read_text() + "[policy.interfaces.gre2]\nallowed = true\n")
    agent.config.write_text(
        agent.config.read_text().replace("[nhrp]", '[nhrp]\ninterfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }')
    )
    process.send_signal(signal.SIGHUP)
    agent.wait_for("config_reloaded")
    assert agent.events("restart_needed")
    assert agent.ask(interface="gre2") == b"eventid=1\nresult=deny\n\n"
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert [tunnel["name"] for tunnel in agent.status()["tunnel_interfaces"]] == ["gre1"]


def test_a_state_directory_that_is_missing_is_told_and_keeps_nobody_waiting(agent: Agent) -> None:
    """nhrpd is answered from memory; one line names the directory, and there is no traceback."""
    agent.config.write_text(agent.config.read_text().replace('state_directory = "', 'state_directory = "/nowhere'))
    agent.start()
    agent.wait_for("agent_ready")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    (failure,) = agent.events("store_in_memory")
    assert "/nowhere" in failure["why"]
    assert "Traceback" not in agent.log.read_text()


HANGING = """\
import asyncio, sys
from dmvpn_agent import serve
from dmvpn_agent.app import AgentApp
from dmvpn_agent.cli.main import main

async def hang(self):
    await asyncio.Event().wait()

serve.STOP_LIMIT = 0.5
AgentApp.stop = hang
sys.exit(main(sys.argv[1:]))
"""


def test_a_stop_that_hangs_ends_all_the_same(agent: Agent) -> None:
    """After a limit the process ends itself, and says so."""
    argv = [sys.executable, "-c", HANGING, "run", "--config", str(agent.config)]
    with agent.log.open("ab") as log:
        agent.processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
    agent.wait_for("agent_ready")
    assert _end(agent.processes[0], signal.SIGTERM) == 1
    assert agent.events("stop_took_too_long")
