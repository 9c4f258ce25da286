"""Both processes with a standard error that is not read, or closed: they work, and SIGTERM ends them."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.agent import VALID, Agent
from contract.bridge_process import BridgeProcess
from dmvpn_agent.runtime.unix_socket import answered
from factories import event
from fakes.charon import FakeCharon
from fakes.waiting import until, until_now

Pipe = tuple[int, int]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    agent.kill()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A small pipe; the test has the reading end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def _ask_badly(path: Path, times: int) -> int:
    """Ask about ``times`` addresses that are not the certificate's, a log line each; return the number of answers."""
    with socket.socket(socket.AF_UNIX) as nhrpd:
        nhrpd.settimeout(30)
        nhrpd.connect(str(path))
        answers = 0
        for number in range(times):
            nhrpd.sendall(event(1, remote_addr=f"10.9.{number // 250}.{number % 250}", der_hex=VALID))
            answers += nhrpd.recv(1000) == b"eventid=1\nresult=deny\n\n"
        return answers


def _wait_for_socket(path: Path) -> None:
    until_now(lambda: answered(path))


def test_an_agent_whose_log_is_not_read_decides_and_ends(agent: Agent, pipe: Pipe) -> None:
    """The pipe is full; the agent answers nhrpd, serves its state, and SIGTERM ends it."""
    process = agent.start(stderr=pipe[1])
    _wait_for_socket(agent.directory / "nhrp.sock")
    assert _ask_badly(agent.directory / "nhrp.sock", 3000) == 3000
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert len(agent.status()["peers"]) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_lines_dropped_are_reported_when_the_log_is_read_again(agent: Agent, pipe: Pipe) -> None:
    """With their number; later lines are whole."""
    agent.start(stderr=pipe[1])
    _wait_for_socket(agent.directory / "nhrp.sock")
    assert _ask_badly(agent.directory / "nhrp.sock", 3000) == 3000
    lines = b""
    while b"log_lines_dropped" not in lines or not lines.endswith(b"\n"):
        lines += os.read(pipe[0], 65536)
    (report,) = [entry for entry in map(json.loads, lines.splitlines()) if entry["event"] == "log_lines_dropped"]
    assert report["lines"] > 0


def test_an_agent_whose_log_reader_died_decides_and_ends(agent: Agent) -> None:
    """As with `| logger`, when the logger was killed."""
    reader, writer = os.pipe()
    process = agent.start(stderr=writer)
    os.close(writer)
    _wait_for_socket(agent.directory / "nhrp.sock")
    os.close(reader)
    assert _ask_badly(agent.directory / "nhrp.sock", 10) == 10
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_an_agent_started_without_standard_error_writes_its_log_nowhere(agent: Agent) -> None:
    """The next file would get descriptor 2: no line may get into the state file or to nhrpd."""
    argv = [sys.executable, "-m", "dmvpn_agent.cli", "run", "--config", str(agent.config)]
    process = subprocess.Popen(["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *argv])
    agent.processes.append(process)
    _wait_for_socket(agent.directory / "nhrp.sock")
    assert _ask_badly(agent.directory / "nhrp.sock", 10) == 10
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    assert {str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)} == {"/dev/null"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_a_bad_configuration_is_reported_without_a_reader_of_the_log(agent: Agent) -> None:
    """The message is on standard error; without a reader the exit status is the same."""
    agent.config.write_text("role = 1\n")
    assert agent.start().wait(timeout=30) == 78
    assert "role" in agent.log.read_text()
    reader, writer = os.pipe()
    os.close(reader)
    process = agent.start(stderr=writer)
    os.close(writer)
    assert process.wait(timeout=30) == 78


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[BridgeProcess]:
    bridge = BridgeProcess(tmp_path)
    charon = FakeCharon(tmp_path / "real.vici")
    await charon.start()
    yield bridge
    bridge.kill()
    await charon.stop()


async def test_a_bridge_whose_log_is_not_read_serves_and_ends(bridge: BridgeProcess, pipe: Pipe) -> None:
    """Invalid clients fill the pipe; the bridge serves on, and SIGTERM ends it."""
    argv = [str(bridge.program), "bridge", "--config", str(bridge.config)]
    bridge.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=pipe[1])
    await until(lambda: answered(bridge.listen))
    for _ in range(200):
        reader, writer = await asyncio.open_unix_connection(bridge.listen)
        writer.write(b"\xff\xff\xff\xff")
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
    bridge.signal(signal.SIGTERM)
    assert await asyncio.to_thread(bridge.process.wait, 30) == 0
