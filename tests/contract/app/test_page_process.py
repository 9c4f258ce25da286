"""The page as a process beside an agent's."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from contract.agent import CONFIG, VALID, Agent
from dmvpn_agent.cli.main import main
from factories import event
from fakes.waiting import until_now
from page_process import free_endpoint


class Served:
    """An agent and its page."""

    def __init__(self, directory: Path) -> None:
        self.address = str(free_endpoint())
        self.agent = Agent(directory, f'{CONFIG}[page]\nlisten = "{self.address}"\n')
        self.agent.start()
        self.agent.wait_for("agent_ready")
        self.page = self.agent.start(command="page")
        self.agent.wait_for("page_listening")

    def get(self, path: str) -> Any:
        try:
            with urlopen(f"http://{self.address}/api/v1/{path}", timeout=30) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            return json.loads(error.read())

    def node(self) -> dict[str, Any]:
        (found,) = self.get("nodes")["data"]["nodes"]
        return dict(found)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.agent.kill()


def _still(document: Any) -> Any:
    """Return a document without its ages."""
    return json.loads(json.dumps(document), object_hook=lambda one: {k: v for k, v in one.items() if k != "last"})


def test_the_page_sends_what_the_commands_print(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Key by key, for an accepted peer and a denied one."""
    served.agent.ask()
    assert b"deny" in served.agent.ask(event(der_hex=VALID, remote_addr="10.255.0.99", remote_nbma="203.0.113.9"))
    for words, path in (
        (("peers",), "peers"),
        (("peer", "spoke1"), "peers/spoke1"),
        (("peer", "10.255.0.99"), "peers/10.255.0.99"),
        (("peer", "nobody"), "peers/nobody"),
        (("status",), "status"),
        (("history", "--denied", "--limit", "5"), "history?denied=yes&limit=5"),
        (("history", "spoke1", "--limit", "5"), "history?peer=spoke1&limit=5"),
    ):
        main([*words, "--json", "--config", str(served.agent.config)])
        assert _still(served.get(path)) == _still(json.loads(capsys.readouterr().out)), path


def test_a_page_outlives_its_agent(served: Served) -> None:
    """It shows that the agent is away, why, and since when; and then that it is back."""
    assert served.node()["reachable"] is True
    served.agent.processes[0].send_signal(signal.SIGTERM)
    served.agent.processes[0].wait()
    until_now(lambda: not served.node()["reachable"])
    node = served.node()
    assert "is the agent running?" in node["why"]
    assert node["answered_at"] is not None
    served.agent.wait_for("page_node_unreachable")
    assert served.agent.events("page_node_unreachable")[0]["outcome"] == "unreachable"
    served.agent.start()
    until_now(lambda: served.node()["reachable"])
    served.agent.wait_for("page_node_answers")


def test_a_page_that_hangs_is_not_waited_for_by_the_agent(served: Served) -> None:
    """A stopped page costs admission nothing."""
    served.page.send_signal(signal.SIGSTOP)
    assert b"accept" in served.agent.ask()
    served.page.send_signal(signal.SIGCONT)


def test_a_reload_names_what_needs_a_restart(served: Served) -> None:
    """And refuses what is no configuration."""
    text = served.agent.config.read_text()
    served.agent.config.write_text(text + 'names = ["a.example"]\n')
    served.page.send_signal(signal.SIGHUP)
    served.agent.wait_for("restart_needed")
    assert served.agent.events("restart_needed")[0]["keys"] == ["page"]
    served.agent.config.write_text(text + "names = 7\n")
    served.page.send_signal(signal.SIGHUP)
    served.agent.wait_for("config_refused")
    served.page.send_signal(signal.SIGTERM)
    assert served.page.wait(timeout=30) == 0


def test_without_an_address_there_is_no_page(tmp_path: Path) -> None:
    """The exit status tells the service manager not to try again."""
    agent = Agent(tmp_path)
    assert agent.start(command="page").wait(timeout=30) == 78
    assert "page.listen is missing" in agent.log.read_text()


def test_an_address_in_use_ends_the_process(served: Served) -> None:
    """Which the service manager starts again."""
    assert served.agent.start(command="page").wait(timeout=30) == 1
    served.agent.wait_for("start_failed")
    assert "cannot listen on" in served.agent.events("start_failed")[0]["why"]


def test_a_control_socket_is_named_on_the_command_line(served: Served, tmp_path: Path) -> None:
    """As for every command; `[page]` needs no agent's configuration beside it."""
    (tmp_path / "only").mkdir()
    other = Agent(tmp_path / "only", "[page]\n")
    address = str(free_endpoint())
    other.start("--listen", address, "--socket", f"{served.agent.directory}/control.sock", command="page")
    try:
        other.wait_for("page_listening")
        served.address = address
        assert served.node()["reachable"] is True
    finally:
        other.kill()


def test_nodes_are_named_on_the_command_line(served: Served) -> None:
    """A page of a page, and a socket, for a moment."""
    address = str(free_endpoint())
    served.agent.start("--listen", address, "--node", f"one=http://{served.address}", "--node",
                       f"two=unix:{served.agent.directory}/control.sock", command="page")  # fmt: skip
    served.agent.wait_for("page_listening", 2)
    served.address = address
    nodes = served.get("nodes")["data"]["nodes"]
    assert [(node["name"], node["reachable"]) for node in nodes] == [("one", True), ("two", True)]
    assert _still(served.get("peers?node=one")) == _still(served.get("peers?node=two"))
