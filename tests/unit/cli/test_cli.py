"""The commands, as an operator enters them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dmvpn_agent.cli.commands import COMMANDS
from dmvpn_agent.cli.main import main
from dmvpn_agent.cli.setup import _progress
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import PLAIN, RED, painted, wants_colors
from dmvpn_agent.runtime.unix_socket import bind
from dmvpn_agent.view.join import join
from dmvpn_agent.view.peer_json import peer_summary
from dmvpn_agent.view.peers_text import peers_text
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.table import table
from factories import NOW
from fakes.agents import peer
from joining import denial, sa, sources

GOOD = """\
role = "hub"
control_socket = "{control}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
[bgp]
as_number = 65000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(GOOD.format(control=tmp_path / "control.sock"))
    return path


def test_check_prints_what_the_agent_would_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid configuration exits 0."""
    assert main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr().out.startswith("The configuration is valid.")


def test_check_prints_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole configuration with its defaults."""
    assert main(["check", "--json", "--config", str(file)]) == 0
    printed = json.loads(capsys.readouterr().out)["data"]
    assert printed["valid"] is True
    assert printed["configuration"]["bgp"]["as_number"] == tomllib.loads(GOOD)["bgp"]["as_number"]


@pytest.mark.parametrize(
    "command",
    [
        "check",
        "run",
        "bridge",
        "status",
        "lint-policy",
        "plan",
        "reset",
        "run --dry-run",
        "explain x",
        "explain --compare x",
        "replay x",
    ],
)
def test_an_invalid_configuration_stops_every_command(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 78 (EX_CONFIG); key, value and allowed values on standard error."""
    file.write_text('role = "router"\n')
    assert main([*command.split(), "--config", str(file)]) == Exit.CONFIGURATION
    printed = capsys.readouterr().err
    assert printed == f"dmvpn-agent: {file}: role is 'router'; expected one of hub, spoke\n"


def test_status_without_an_agent_names_the_socket(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 3."""
    assert main(["status", "--config", str(file)]) == Exit.UNREACHABLE
    printed = capsys.readouterr().err
    assert f"no answer from {file.parent / 'control.sock'}" in printed
    assert "is the agent running" in printed


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["pers"], "peers"),
        (["peers", "--dwon"], "--down"),
        (["--jsn", "peers"], "--json"),
        (["peers", "--stage", "deneid"], "denied"),
        (["peers", "--sort=nmae"], "name"),
    ],
)
def test_a_mistyped_word_gets_a_hint(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a command, an option, or a value."""
    assert main(words) == Exit.USAGE
    assert f"; did you mean {meant}?" in capsys.readouterr().err


def test_wrong_usage_exits_2() -> None:
    """As with other programs."""
    assert main(["dance"]) == Exit.USAGE


COMMANDS_THAT_ASK = ("status", "peers", "peer x", "sas", "sas x", "history", "kick x", "reload", "resync", "watch")


@pytest.mark.parametrize("command", [*COMMANDS_THAT_ASK, "watch --events"])
def test_a_daemon_that_is_away_has_a_status_of_its_own(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 3, and in JSON the same document as every failure."""
    assert main(["--config", str(file), *command.split()]) == Exit.UNREACHABLE
    assert "is the agent running" in capsys.readouterr().err
    assert main(["--json", *command.split(), "-c", str(file)]) == Exit.UNREACHABLE
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["data"], answer["error"]["code"]) == (False, None, "unreachable")


def test_a_daemon_that_does_not_answer_is_named(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out has no text of its own."""
    monkeypatch.setattr("dmvpn_agent.runtime.control_socket.TIMEOUT", 0.1)
    with bind(file.parent / "control.sock", mode=0o600):
        assert main(["status", "--config", str(file)]) == Exit.UNREACHABLE
    assert "it did not answer within" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["dance"],
        ["status", "--dance"],
        ["peer"],
        ["peers", "--expiring", "soon"],
        ["history", "--since", "x"],
        ["history", "--limit", "-1"],
        ["watch", "--interval", "0"],
        ["explain", "x", "--at", "noon"],
        ["explain", "x", "--address", "10.0.0"],
        ["explain", "x", "--type", "x"],
    ],
)
def test_wrong_usage_says_what_was_expected(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2; no name of a function; in JSON a document."""
    assert main(words) == Exit.USAGE
    printed = capsys.readouterr()
    assert printed.err.startswith("usage: dmvpn-agent")
    assert not re.search(r"invalid _?\w+ value", printed.err), printed.err
    assert main([*words, "--json"]) == Exit.USAGE
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["error"]["code"]) == (False, "usage")


@pytest.mark.parametrize("command", ["check", "status", "lint-policy", "plan", "doctor", "replay x", "explain x"])
def test_errors_are_json_if_json_was_asked_for(command: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the configuration, for instance; nothing goes to standard error."""
    file.write_text('rol = "hub"\n')
    assert main([*command.split(), "--json", "--config", str(file)]) == Exit.CONFIGURATION
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert (answer["error"]["code"], printed.err) == ("configuration", "")
    assert answer["error"]["message"].endswith("rol is unknown; did you mean role?")


@pytest.mark.parametrize("content", [b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", b"\x00\x01"])
def test_a_file_that_is_no_recording_is_not_replayed(
    content: bytes, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said "0 events", and had status 0."""
    recording = file.parent / "recording"
    recording.write_bytes(content)
    assert main(["replay", str(recording), "--config", str(file)]) == Exit.USAGE
    assert f"{recording} is no recording: line 1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("check",), ("check", "--json"), ("lint-policy",), ("status", "--json")])
def test_a_full_disk_is_one_line(words: tuple[str, ...], file: Path) -> None:
    """`status > /dev/full` printed a traceback."""
    argv = [sys.executable, "-m", "dmvpn_agent.cli", *words, "--config", str(file)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == (Exit.UNREACHABLE if words[0] == "status" else Exit.DEGRADED)
    assert "Traceback" not in done.stderr
    if words[0] != "status":
        assert done.stderr == "dmvpn-agent: cannot write to standard output: No space left on device\n"


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """With the common options and the exit statuses."""
    for command in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "--config FILE" in text
        assert "4 no such peer" in text


def test_colors_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only if nobody refuses them."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colors(refused=False)
    assert not wants_colors(refused=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colors(refused=False)


def test_text_from_outside_has_no_colors() -> None:
    """Marks in a name are escaped before they are painted."""
    assert painted(f"{RED}x{PLAIN}", colors=True) == "\x1b[31mx\x1b[0m"
    assert RED not in table(("A",), [(f"{RED}x",)])


@pytest.mark.parametrize("columns", [80, 100, 132, 200, None])
def test_the_list_of_peers_fits_the_terminal(columns: int | None) -> None:
    """At 80 columns with name, stage and reason."""
    peers = [peer_summary(one, NOW) for one in join(sources(1, 2, 3, sas=(sa(1),), denials=(denial(4),)))]
    text = painted(peers_text(peers, NOW, columns), colors=False)
    for line in text.splitlines():
        assert columns is None or len(line) <= columns, line
    assert "PEER" in text
    assert re.search(r"^spoke2 +no_ike +.*it has no IKE_SA", text, re.MULTILINE), text


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.UP])
def test_at_80_columns_stage_and_reason_can_be_read(stage: Stage) -> None:
    """Also beside a long name, which is never cut: what the reader has to type is whole."""
    peers = [peer_summary(peer(1, stage, "x" * 32), NOW), peer_summary(peer(2, Stage.UP), NOW)]
    line = painted(peers_text(peers, NOW, 80), colors=False).splitlines()[1]
    assert len(line) <= 80
    assert line.split()[:2] == ["x" * 32, str(stage)]
    peers = [peer_summary(peer(1, stage, "spoke17"), NOW)]
    line = painted(peers_text(peers, NOW, 80), colors=False).splitlines()[1]
    assert peer(1, stage).why[:38] in line


@pytest.mark.parametrize(
    ("words", "possible"), [(["example"], "TOPIC: hub, spoke"), (["ca"], "ACTION: init"), (["completion"], "bash")]
)
def test_a_missing_word_is_reported_with_those_that_are_possible(
    words: list[str], possible: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for a wrong word."""
    assert main(words) == Exit.USAGE
    assert possible in capsys.readouterr().err


def test_a_reader_that_has_gone_does_not_stop_setup_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup would otherwise end between two of its steps."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        _progress("writes one file")
        _progress("writes another one")
