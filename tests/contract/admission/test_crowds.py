"""Many connections to every listener of both processes: whoever is to be served is."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from contract.agent import CONFIG, Agent
from contract.bridge_stand import INSTALLED, Stand, spoke, stand
from contract.crowd import crowd
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.vici_server import MAX_CLIENTS
from dmvpn_agent.charon.vici import Packet, PacketType, encode
from factories import event
from fakes.waiting import until, until_now

__all__ = ["stand"]

FEW = ("prlimit", "--nofile=64:64")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return _free_port()


@pytest.fixture
def agent(tmp_path: Path, port: int) -> Iterator[Agent]:
    """One that may have 64 descriptors."""
    agent = Agent(tmp_path, CONFIG.replace('listen = ""', f'listen = "127.0.0.1:{port}"'), FEW)
    yield agent
    agent.kill()


def _scrape(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("say", [b"", b"GET", event(1)[:50]], ids=["silent", "half a request", "half a question"])
def test_a_thousand_connections_to_each_socket_cost_nobody_an_answer(agent: Agent, port: int, say: bytes) -> None:
    """With 64 descriptors: nhrpd is answered, the state shown, Prometheus served, SIGTERM obeyed."""
    process = agent.start()
    agent.wait_for("agent_ready")
    with (
        crowd(f"127.0.0.1:{port}", 1000, say),
        crowd(agent.directory / "control.sock", 1000, say),
        crowd(agent.directory / "nhrp.sock", 1000, say),
    ):
        assert agent.ask() == b"eventid=1\nresult=accept\n\n"
        assert len(agent.status()["peers"]) == 1
        assert 'connections_refused_total{listener="events",outcome="evicted"}' in _scrape(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_those_who_ask_without_end_do_not_keep_nhrpd_out(agent: Agent) -> None:
    """Another process holds all connections and has asked on each: nhrpd is another process, and gets one."""
    agent.start()
    agent.wait_for("agent_ready")
    with crowd(agent.directory / "nhrp.sock", 20, event(1, remote_cert="")):
        assert agent.ask() == b"eventid=1\nresult=accept\n\n"


def test_a_metrics_port_that_is_taken_stops_nothing(agent: Agent, port: int) -> None:
    """The log names it; the metrics are served as soon as the other program has gone."""
    with socket.create_server(("127.0.0.1", port)):
        agent.start()
        agent.wait_for("agent_ready")
        assert agent.ask() == b"eventid=1\nresult=accept\n\n"
        (entry,) = [entry for entry in agent.events("part_failed") if entry["part"] == "metrics"]
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in entry["why"]
    until_now(lambda: _listens(port))
    assert 'part_failures_total{part="metrics"}' in _scrape(port)


def test_the_number_of_descriptors_is_raised_to_what_is_allowed(agent: Agent) -> None:
    """Of the two limits the lower one is only what programs start with."""
    agent.enter = ("prlimit", "--nofile=64:500")
    process = agent.start()
    agent.wait_for("agent_ready")
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["500", "500"]


async def test_clients_that_take_all_places_of_the_bridge_do_not_keep_nhrpd_out(stand: Stand) -> None:
    """They asked for events as nhrpd does, but are all of one process."""
    register = encode(Packet(PacketType.EVENT_REGISTER, INSTALLED))
    async with stand.bridged():
        await until(lambda: stand.bridge.ready)
        with crowd(stand.listen, MAX_CLIENTS, register):
            await until(lambda: stand.telemetry.value(metrics.BRIDGE_CLIENTS) == MAX_CLIENTS)
            for _ in range(100):
                await asyncio.sleep(0)  # what they ask for is read
            async with stand.nhrpd() as nhrpd:
                stand.charon.up(spoke())
                await until(lambda: nhrpd.events(INSTALLED) == [11])


def test_a_socket_is_found_closed_when_the_agent_has_ended(agent: Agent) -> None:
    """No file is left that somebody could take for a living agent."""
    process = agent.start()
    agent.wait_for("agent_ready")
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    until_now(lambda: not list(agent.directory.glob("*.sock")))
