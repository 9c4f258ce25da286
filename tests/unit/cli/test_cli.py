"""The commands, as an operator enters them."""

import json
import tomllib
from pathlib import Path

import pytest

from dmvpn_agent.cli.main import EXIT_CONFIG, main

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
    printed = json.loads(capsys.readouterr().out)
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
    assert main([*command.split(), "--config", str(file)]) == EXIT_CONFIG == 78
    printed = capsys.readouterr().err
    assert printed == f"dmvpn-agent: {file}: role is 'router'; expected one of hub, spoke\n"


def test_status_without_an_agent_names_the_socket(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1."""
    assert main(["status", "--config", str(file)]) == 1
    printed = capsys.readouterr().err
    assert f"no status from {file.parent / 'control.sock'}" in printed
    assert "is the agent running" in printed


def test_wrong_usage_exits_2() -> None:
    """As with other programs."""
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
