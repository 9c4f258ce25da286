"""The agent as a process: signals, restarts, reloads, and a second agent on the same sockets."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from contract.agent import TODAY, Agent
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.cli.main import main
from factories import authority_pem, certificate, crl_pem, event
from fakes.stored import rows_on_disk
from fakes.waiting import until_now


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.kill()


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(timeout=30)


def test_an_agent_without_frr_charon_and_tunnel_answers_nhrpd(agent: Agent) -> None:
    """SIGTERM ends it cleanly."""
    process = agent.start()
    agent.wait_for("agent_ready")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert [peer["protocol_address"] for peer in agent.status()["peers"]] == ["10.255.0.2"]
    agent.wait_for("nhrpd_unavailable")
    assert _end(process, signal.SIGTERM) == 0
    assert not (agent.directory / "nhrp.sock").exists()
    assert not agent.events("failed")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_the_agent_notifies_the_service_manager_when_nhrpd_can_connect(
    agent: Agent, abstract: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, because the service manager starts FRR after that."""
    path = str(agent.directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket(socket.AF_UNIX) as nhrpd:
        manager.settimeout(30)
        manager.bind(f"\0{path}" if abstract else path)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{path}" if abstract else path)
        agent.start()
        assert manager.recv(100) == b"READY=1"
        nhrpd.connect(str(agent.directory / "nhrp.sock"))


def test_an_absent_service_manager_stops_no_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent logs it and answers nhrpd."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(agent.directory / "nowhere"))
    agent.start()
    agent.wait_for("ready_not_notified")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"


def test_a_recording_can_be_replayed(agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent writes each event when it answers it, so that a killed agent leaves a complete file."""
    recording = agent.directory / "recording"
    process = agent.start("--record", str(recording))
    agent.wait_for("agent_ready")
    agent.ask()
    until_now(lambda: recording.read_bytes().endswith(b"\n"))
    _end(process, signal.SIGKILL)
    assert main(["replay", str(recording), "--config", str(agent.config)]) == 0
    assert capsys.readouterr().out == "1 events: 1 same.\n"


def test_a_killed_agent_knows_its_peers_after_the_restart(agent: Agent) -> None:
    """It replaces the stale sockets, and has the peer without a new event."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    until_now(lambda: rows_on_disk(agent.directory / "agent.sqlite", PeerTable.TABLE) == 1)
    _end(process, signal.SIGKILL)
    agent.start()
    agent.wait_for("agent_ready", 2)
    assert len(agent.status()["peers"]) == 1
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"


def test_a_second_agent_does_not_start(agent: Agent) -> None:
    """It logs the path of the socket and exits 1; the first agent keeps its sockets."""
    agent.start()
    agent.wait_for("agent_ready")
    assert agent.start().wait(timeout=30) == 1
    (failure,) = agent.events("start_failed")
    assert "another process listens on" in failure["why"]
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert len(agent.status()["peers"]) == 1


def _invalid(config: str) -> str:
    return config.replace("10.255.0.0/24", "10.255.0.1/24")


def _narrower(config: str) -> str:
    return config.replace("10.255.0.0/24", "10.1.0.0/24")


@pytest.mark.parametrize(
    ("change", "name", "result"), [(_invalid, "config_refused", b"accept"), (_narrower, "config_reloaded", b"deny")]
)
def test_a_reload_applies_a_valid_configuration_only(
    agent: Agent, change: Callable[[str], str], name: str, result: bytes
) -> None:
    """After an invalid one the old one stays in force. A valid one applies to new events and accepted peers."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    agent.config.write_text(change(agent.config.read_text()))
    process.send_signal(signal.SIGHUP)
    agent.wait_for(name)
    assert agent.ask() == b"eventid=1\nresult=" + result + b"\n\n"
    assert len(agent.status()["peers"]) == (1 if result == b"accept" else 0)


def test_a_reload_that_requires_crls_denies_no_valid_peer(agent: Agent) -> None:
    """The policy and its CRLs come into force together."""
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


def test_a_crl_too_long_for_charon_is_enforced_from_the_start(agent: Agent) -> None:
    """VICI takes 65,535 octets; this one has 10,001 entries. The agent starts, says so, and denies who is in it."""
    valid = {"not_before": TODAY - timedelta(days=1), "not_after": TODAY + timedelta(days=1)}
    revoked = certificate(**valid)
    files = {name: agent.directory / name for name in ("ca.pem", "ca.crl")}
    files["ca.pem"].write_bytes(authority_pem())
    files["ca.crl"].write_bytes(crl_pem(*range(1 << 80, (1 << 80) + 10_000), revoked.serial, update=TODAY))
    rows = f'ca_certificates = ["{files["ca.pem"]}"]\ncrls = ["{files["ca.crl"]}"]\nrequire_crl = true\n'
    agent.config.write_text(agent.config.read_text().replace("[policy]\n", f"[policy]\n{rows}"))
    agent.start()
    agent.wait_for("agent_ready")
    for der_hex, result in ((revoked.der.hex(), b"deny"), (certificate(name="spoke2", **valid).der.hex(), b"accept")):
        assert agent.ask(event(der_hex=der_hex)) == b"eventid=1\nresult=%s\n\n" % result
    assert any("charon takes 65535 at most" in problem for problem in agent.status()["trust"]["problems"])


def test_a_new_tunnel_interface_needs_a_restart(agent: Agent) -> None:
    """The agent denies peers on it until then, and logs the key."""
    process = agent.start()
    agent.wait_for("agent_ready")
    agent.config.write_text(agent.config.read_text() + "[policy.interfaces.gre2]\nallowed = true\n")
    agent.config.write_text(
        agent.config.read_text().replace("[nhrp]", '[nhrp]\ninterfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }')
    )
    process.send_signal(signal.SIGHUP)
    agent.wait_for("config_reloaded")
    assert [entry["keys"] for entry in agent.events("restart_needed")] == [["nhrp.interfaces"]]
    assert agent.ask(interface="gre2") == b"eventid=1\nresult=deny\n\n"
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert [tunnel["name"] for tunnel in agent.status()["tunnel_interfaces"]] == ["gre1"]


def test_a_missing_state_directory_delays_no_answer(agent: Agent) -> None:
    """The agent keeps its peers in memory and logs the directory once, without a traceback."""
    agent.config.write_text(agent.config.read_text().replace('state_directory = "', 'state_directory = "/nowhere'))
    agent.start()
    agent.wait_for("agent_ready")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    failures = {Path(failure["file"]).name: failure["why"] for failure in agent.events("store_in_memory")}
    assert "agent.sqlite" in failures
    assert all("/nowhere" in why for why in failures.values())
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


def test_a_stop_that_hangs_is_limited(agent: Agent) -> None:
    """After the limit the process exits and logs it."""
    argv = [sys.executable, "-c", HANGING, "run", "--config", str(agent.config)]
    with agent.log.open("ab") as log:
        agent.processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
    agent.wait_for("agent_ready")
    assert _end(agent.processes[0], signal.SIGTERM) == 1
    assert agent.events("stop_took_too_long")
