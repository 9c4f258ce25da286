"""The commands with an agent that runs: what they print, their exit status, and what they change."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.agent import CONFIG, VALID, Agent
from dmvpn_agent.cli.main import main
from dmvpn_agent.doctor.inspect_running import read_running
from dmvpn_agent.doctor.running_checks import running_checks
from dmvpn_agent.runtime.document import Exit
from documented import documented, paths
from factories import event
from fakes.waiting import until_now

HUB = (
    CONFIG.replace('role = "spoke"', 'role = "hub"').replace(
        "[policy]", '[policy]\nallowed_networks = ["192.168.0.0/16"]'
    )
    + "[bgp]\nenabled = false\n[redirect]\nenabled = false\n"
)


class Console:
    """The command line of one agent."""

    def __init__(self, agent: Agent, capsys: pytest.CaptureFixture[str]) -> None:
        self.agent = agent
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str]:
        status = main([*words, "--config", str(self.agent.config)])
        printed = self._capsys.readouterr()
        return status, printed.out + printed.err

    def json(self, *words: str) -> tuple[int, Any]:
        status, text = self(*words, "--json")
        return status, json.loads(text)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, HUB)
    agent.start()
    agent.wait_for("agent_ready")
    yield agent
    agent.kill()


@pytest.fixture
def console(agent: Agent, capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(agent, capsys)


@pytest.fixture
def accepted(console: Console) -> Console:
    """With the spoke ``spoke1`` accepted at 10.255.0.2."""
    assert console.agent.ask() == b"eventid=1\nresult=accept\n\n"
    return console


LOOKS = ("status",), ("peers",), ("peer", "spoke1"), ("history",)


def _deny(agent: Agent, address: str = "10.255.0.99") -> None:
    assert b"deny" in agent.ask(event(der_hex=VALID, remote_addr=address, remote_nbma="203.0.113.9"))


def _deny_by_policy(console: Console) -> None:
    """Deny spoke1, which is accepted."""
    config = console.agent.config
    config.write_text(config.read_text() + '[[policy.maintenance]]\naction = "deny"\nidentity = "*spoke1*"\n')
    assert console("reload")[0] == 0
    until_now(lambda: console.json("peer", "spoke1")[1]["data"]["peer"]["stage"] == "denied")


def test_status_says_what_is_wrong(console: Console) -> None:
    """Neither charon nor nhrpd is there: the exit status is 1."""
    status, text = console("status")
    assert status == Exit.DEGRADED
    assert "DEGRADED" in text
    assert "charon is away" in text
    status, answer = console.json("status")
    assert (status, answer["ok"], answer["schema"], answer["data"]["degraded"]) == (1, True, "status/1", True)


def test_without_a_command_there_is_a_short_status(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    """And what to type next; both fit on a terminal of 24 lines and 80 columns."""
    assert main(["-c", str(console.agent.config)]) == Exit.DEGRADED
    text = capsys.readouterr().out
    assert text.count("\n") < 24
    assert max(map(len, text.partition("\n\n")[2].splitlines())) <= 80
    assert "charon is away" in text
    assert "dmvpn-agent peers" in text


@pytest.mark.parametrize("words", [("-c", "FILE", "status"), ("status", "-c", "FILE"), ("--config=FILE", "status")])
def test_options_stand_before_or_after_the_command(
    console: Console, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Also `--json`."""
    argv = [word.replace("FILE", str(console.agent.config)) for word in words]
    assert main(["--json", *argv]) == Exit.DEGRADED
    assert json.loads(capsys.readouterr().out)["schema"] == "status/1"


def test_the_environment_names_the_configuration(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config` counts more."""
    monkeypatch.setenv("DMVPN_AGENT_CONFIG", str(console.agent.config))
    assert main(["status"]) == Exit.DEGRADED
    assert main(["status", "-c", "/nowhere.toml"]) == Exit.CONFIGURATION
    assert "/nowhere.toml" in capsys.readouterr().err


def test_peers_are_listed_with_their_stage(accepted: Console) -> None:
    """charon cannot be asked here, so the stage is unknown or the first that nhrpd would show."""
    status, answer = accepted.json("peers")
    (peer,) = answer["data"]["peers"]
    assert (peer["name"], peer["protocol_addresses"], peer["accepted"]) == ("spoke1", ["10.255.0.2"], True)
    assert peer["stage"] == "unknown"
    assert status == Exit.DEGRADED  # it was accepted once, and is not up
    assert "spoke1" in accepted("peers", "--down", "--sort", "since")[1]
    assert accepted.json("peers", "--stage", "denied")[1]["data"]["peers"] == []
    assert len(accepted.json("peers", "--expiring", "2d")[1]["data"]["peers"]) == 1
    assert accepted.json("peers", "--expiring", "0d")[1]["data"]["peers"] == []


@pytest.mark.parametrize("word", ["spoke1", "10.255.0.2", "203.0.113.2"])
def test_a_peer_is_shown_by_name_or_address(accepted: Console, word: str) -> None:
    """A section for each stage, what to do, and its history."""
    status, text = accepted("peer", word)
    assert status == Exit.DEGRADED
    for section in ("IKE", "ESP", "registration", "decision", "BGP", "prefixes"):
        assert re.search(rf"^ +{section} ", text, re.MULTILINE), text
    assert "accept" in text


def test_a_peer_that_nobody_knows_has_a_status_of_its_own(accepted: Console) -> None:
    """Also for `sas`, which printed an empty table."""
    for words in (
        ("peer", "nobody"),
        ("history", "nobody"),
        ("kick", "nobody"),
        ("sas", "nobody"),
        ("sas", "10.9.9.9"),
    ):
        status, text = accepted(*words)
        assert (status, "no peer is named" in text) == (Exit.NO_PEER, True), words
    status, answer = accepted.json("peer", "nobody")
    assert (status, answer["error"]["code"], answer["data"]) == (Exit.NO_PEER, "no_such_peer", None)


def test_sas_without_charon_fail(accepted: Console) -> None:
    """An empty table would look as if there were no SAs."""
    for words in (("sas",), ("sas", "spoke1")):
        status, text = accepted(*words)
        assert (status, "not connected to charon" in text) == (Exit.UNREACHABLE, True)


def test_a_denied_peer_is_at_that_stage_and_in_the_history(console: Console) -> None:
    """With reason, field, value and rule; repeated denials are one entry."""
    for _ in range(3):
        _deny(console.agent)
    status, text = console("peer", "10.255.0.99")
    assert status == Exit.DEGRADED
    assert re.search(r"^>>> +decision +denied .*protocol_address_mismatch$", text, re.MULTILINE), text
    (entry,) = console.json("history", "--denied")[1]["data"]["entries"]
    assert (entry["kind"], entry["what"], entry["count"]) == ("decision", "deny", 3)
    assert "protocol_address_mismatch" in entry["text"]
    assert console.json("history", "10.255.0.99", "--since", "1h")[1]["data"]["entries"]
    assert console.json("history", "--since", "2999-01-01")[1]["data"]["entries"] == []


def test_an_absent_peer_stays_until_it_is_forgotten(accepted: Console) -> None:
    """It cannot be forgotten while it is accepted."""
    assert accepted("peers")[0] == Exit.DEGRADED
    status, text = accepted("forget", "spoke1")
    assert (status, "would be learned again" in text) == (1, True)
    _deny_by_policy(accepted)
    assert accepted("forget", "spoke1")[0] == 0


def test_a_peer_is_quarantined_and_released(accepted: Console) -> None:
    """The quarantine survives a restart; each command is logged with the user."""
    assert accepted("quarantine", "spoke1")[0] == 0

    def quarantined() -> bool:
        return bool(accepted.json("peer", "spoke1")[1]["data"]["peer"]["quarantined"])

    until_now(quarantined)
    (logged,) = accepted.agent.events("operator_command")
    assert (logged["command"], logged["peer"], logged["user"]) == ("quarantine", "spoke1", "root")
    process = accepted.agent.processes[-1]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    accepted.agent.start()
    accepted.agent.wait_for("agent_ready", 2)
    until_now(quarantined)
    assert accepted("release", "spoke1")[0] == 0
    until_now(lambda: not quarantined())
    status, text = accepted("release", "spoke1")
    assert (status, "no command has quarantined" in text) == (1, True)
    entries = accepted.json("history", "spoke1")[1]["data"]["entries"]
    assert [one["what"] for one in entries if one["kind"] == "operator"] == ["quarantine", "release", "release"]


def test_kick_needs_charon(accepted: Console) -> None:
    """And says so."""
    status, text = accepted("kick", "spoke1")
    assert (status, "charon is away" in text) == (Exit.UNREACHABLE, True)


def test_a_reload_of_an_invalid_configuration_is_refused(console: Console) -> None:
    """By the command, which names the key; the agent keeps its own."""
    good = console.agent.config.read_text()
    console.agent.config.write_text(good.replace("10.255.0.0/24", "10.255.0.1/24"))
    status, text = console("reload")
    assert (status, "host bits" in text) == (Exit.CONFIGURATION, True)
    assert not console.agent.events("config_refused")
    console.agent.config.write_text(good)
    assert console("reload") == (0, "the configuration is in force\n")
    console.agent.wait_for("config_reloaded")
    assert console("resync")[0] == 0


def test_the_doctor_sees_a_configuration_that_is_newer_than_the_running_one(console: Console) -> None:
    """Until it is in force; a key that needs a restart is named."""
    config, control = console.agent.config, console.agent.directory / "control.sock"

    def problem() -> str:
        return " ".join(one.do for one in running_checks(asyncio.run(read_running(control, config))))

    assert problem() == ""
    text = config.read_text()
    replacement = config.with_suffix(".new")
    replacement.write_text(text + "[peers]\nlearn = false\n")
    os.utime(replacement, (0, 0))  # as a file from a package or an archive
    replacement.rename(config)
    assert "dmvpn-agent reload" in problem()
    assert console("reload")[0] == Exit.HEALTHY
    assert problem() == ""
    config.write_text(text.replace('listen = ""', 'listen = "127.0.0.1:1"'))
    assert console("reload")[0] == Exit.HEALTHY
    assert problem() == "restart dmvpn-agent"
    assert console.json("status")[1]["data"]["configuration"]["restart_needed"] == ["metrics.listen"]


def test_start_stop_and_reload_are_in_the_history(console: Console) -> None:
    """With the version, and the keys that need a restart."""
    config = console.agent.config
    config.write_text(config.read_text().replace('listen = ""', 'listen = "127.0.0.1:1"'))
    assert console("reload")[0] == Exit.HEALTHY
    process = console.agent.processes[-1]
    process.terminate()
    process.wait(timeout=30)
    console.agent.start()
    console.agent.wait_for("agent_ready", 2)
    entries = [one for one in console.json("history")[1]["data"]["entries"] if one["kind"] == "agent"]
    assert [one["what"] for one in entries] == ["start", "reload", "stop", "start"]
    assert entries[1]["text"] == "a restart is needed for metrics.listen"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user than root")
def test_only_root_may_change_something(accepted: Console) -> None:
    """Whoever may open the socket may look."""
    path = accepted.agent.directory / "control.sock"
    for parent in (path.parent, *path.parents):
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    path.chmod(0o666)
    ask = (
        "import json,socket,sys,os; os.setuid(65534); s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(json.dumps({'command':sys.argv[2],'arguments':{'peer':'spoke1'}}).encode()+b'\\n');"
        "print(s.makefile().read())"
    )

    def asked(command: str) -> Any:
        done = subprocess.run([sys.executable, "-c", ask, str(path), command], capture_output=True, check=True)
        return json.loads(done.stdout)

    assert asked("peer")["ok"] is True
    for command in ("kick", "quarantine", "release", "forget", "reload", "resync"):
        assert asked(command)["error"]["code"] == "not_allowed"
    assert not accepted.agent.events("operator_command")


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_events_are_streamed_as_they_happen(console: Console) -> None:
    """One document a line, until the reader leaves."""
    argv = [sys.executable, "-m", "dmvpn_agent.cli", "watch", "--events", "--config", str(console.agent.config)]
    # A job in the background of a shell without job control ignores SIGINT, and so would its children.
    with subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=_heed_interrupts) as watching:  # noqa: PLW1509
        assert watching.stdout is not None
        os.set_blocking(watching.stdout.fileno(), False)
        lines: list[bytes] = []

        def denied() -> bool:
            _deny(console.agent)
            lines.extend(watching.stdout or ())
            return len(lines) > 0

        until_now(denied)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 130
    answer = json.loads(lines[0])
    assert (answer["schema"], answer["data"]["kind"], answer["data"]["what"]) == ("event/1", "decision", "deny")


def test_the_peers_are_shown_live(accepted: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look with its time and the numbers, until an interrupt."""
    looks = 0

    def wait(seconds: float) -> None:
        nonlocal looks
        looks += 1
        assert seconds == 0.5
        if looks == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("dmvpn_agent.cli.watch.time.sleep", wait)
    status, text = accepted("watch", "--interval", "0.5")
    assert status == 130
    assert text.count(" UTC, 0 of 1 peers up, 0 of 1 expected; every 0.5 s") == 2
    assert len(re.findall(r"^spoke1 +unknown ", text, re.MULTILINE)) == 2


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("peers",), ("history",), ()])
def test_a_full_disk_is_one_line(accepted: Console, words: tuple[str, ...]) -> None:
    """The agent's answer cannot be written; that is said, and nothing else."""
    argv = [sys.executable, "-m", "dmvpn_agent.cli", *words, "--config", str(accepted.agent.config)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != Exit.HEALTHY
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_silent_client_delays_nobody(console: Console) -> None:
    """It has a connection of its own, for ten seconds."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(console.agent.directory / "control.sock"))
        assert console("status")[0] == Exit.DEGRADED


def test_every_answer_is_documented(accepted: Console) -> None:
    """Every key of every document of the agent is a row of docs/json.md, and every row such a key."""
    answers = [accepted.json(*words)[1] for words in LOOKS]
    _deny_by_policy(accepted)
    answers += [accepted.json(*words)[1] for words in (("peers",), ("peer", "spoke1"))]
    for schema in {answer["schema"] for answer in answers}:
        found = set().union(*(paths(answer["data"]) for answer in answers if answer["schema"] == schema))
        known = documented(schema)
        if schema == "status/1":
            found = {path.partition(".")[0].removesuffix("[]") for path in found}
        assert (schema, found - known, known - found) == (schema, set(), set())


def test_the_answer_of_every_command_that_changes_something_is_documented(accepted: Console) -> None:
    """Each key, and which commands there are."""
    found = {"ended", "forgotten"}  # of kick and forget, for which other tests have a peer
    for words in (("quarantine", "spoke1"), ("release", "spoke1"), ("reload",), ("resync",)):
        status, answer = accepted.json(*words)
        assert (status, answer["schema"], answer["data"]["command"]) == (Exit.HEALTHY, "action/1", words[0])
        found |= set(answer["data"])
    assert found == documented("action/1")
