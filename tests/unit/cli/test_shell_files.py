"""What the shell and man(1) get, and the files that come with the program."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from dmvpn_agent.cli.commands import COMMANDS
from dmvpn_agent.cli.grammar import Command, commands
from dmvpn_agent.cli.main import main, parser
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.setup.shipped import TOPICS, shipped

CHECKOUT = Path(__file__).parents[3]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def undescribed(command: Command, before: str = "") -> list[str]:
    """The arguments of a command and its actions that --help does not describe."""
    name = f"{before}{command.name}"
    own = [f"{name} {one.names or one.value}" for one in (*command.options, *command.arguments) if not one.help]
    return [*own, *(each for action in command.actions for each in undescribed(action, f"{name} "))]


def test_every_argument_is_described() -> None:
    """Those without a name too."""
    assert [one for command in commands(parser()) for one in undescribed(command)] == []


def test_the_man_page_has_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """groff reports nothing about it."""
    text = printed(capsys, "man")
    for command in COMMANDS:
        name = command.replace("-", "\\-")
        assert f"\n.B {name}" in text, command
    if shutil.which("groff"):
        argv = ["groff", "-man", "-Tascii", "-ww"]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
        assert done.stderr == ""


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_its_files(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As they are in the checkout."""
    found = shipped(topic)
    assert found
    for name, text in found.items():
        assert text in {file.read_text() for file in CHECKOUT.rglob(name) if ".venv" not in file.parts}, name
    assert json.loads(printed(capsys, "example", topic, "--json"))["data"] == found


@pytest.mark.skipif(find_spec("setuptools") is None, reason="no setuptools here")
def test_the_wheel_has_every_file_of_every_topic(tmp_path: Path) -> None:
    """And those of the page: what an installed program prints is not read from a checkout."""
    argv = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True)
    code = (
        "import json, dmvpn_agent.setup.shipped as s;"
        "print(json.dumps([s.__file__, {one: s.shipped(one) for one in s.TOPICS}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, cwd="/", capture_output=True, check=True
    )
    file, found = json.loads(done.stdout)
    assert Path(file).is_relative_to(tmp_path)
    assert found == {topic: shipped(topic) for topic in TOPICS}
    own = Path("agent/dmvpn_agent/page/static")
    assert {one.name for one in (tmp_path / "dmvpn_agent/page/static").iterdir()} == {
        one.name for one in (CHECKOUT / own).iterdir()
    }


@pytest.mark.parametrize("topic", TOPICS)
def test_each_file_is_printed_as_it_is(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that is redirected into its place has its tabs."""
    for name, text in shipped(topic).items():
        assert printed(capsys, "example", topic, name) == f"{text.rstrip(chr(10))}\n"


def test_help_leaves_no_placeholder() -> None:
    """The manual page and the completions show an option's default and choices, as --help does."""
    assert [one for command in commands(parser()) for one in placeholders(command)] == []


def placeholders(command: Command) -> list[str]:
    own = [one.help for one in (*command.options, *command.arguments) if "%(" in one.help]
    return [*own, *(each for action in command.actions for each in placeholders(action))]


def test_an_unknown_option_shows_the_usage_of_the_action(capsys: pytest.CaptureFixture[str]) -> None:
    """Not that of the command, and the name of another action is no hint."""
    assert main(["ca", "node", "remove", "FIN-1", "--passphrase-file", "x"]) == Exit.USAGE
    shown = capsys.readouterr().err
    assert "usage: dmvpn-agent ca node remove" in shown
    assert "did you mean" not in shown


def test_examples_are_written_to_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file stays as it is."""
    (tmp_path / "hub.conf").write_text("mine")
    assert main(["example", "frr", "--to", str(tmp_path)]) == Exit.DEGRADED
    assert "hub.conf is there already" in capsys.readouterr().err
    assert (tmp_path / "hub.conf").read_text() == "mine"
    assert (tmp_path / "spoke.conf").read_text() == (CHECKOUT / "frr" / "spoke.conf").read_text()
    assert main(["example", "frr", "nothing"]) == Exit.USAGE
    assert main(["example", "frr", "--to", "/nowhere/at/all"]) == Exit.USAGE


def test_the_alerts_lead_to_the_operators_copy_of_the_runbook(capsys: pytest.CaptureFixture[str]) -> None:
    """Each to its own section there; without a copy they lead to the package's documentation."""
    urls = []
    for words in ((), ("--runbook", "https://wiki.example.net/dmvpn")):
        assert main(["example", "prometheus", "rules.yml", *words]) == Exit.HEALTHY
        urls.append(re.findall(r"runbook_url: (\S+)#(\w+)", capsys.readouterr().out))
    assert {base for base, _ in urls[0]} == {"file:///usr/share/doc/dmvpn-agent/runbook.md"}
    assert urls[1] == [("https://wiki.example.net/dmvpn", name) for _, name in urls[0]]
    assert main(["example", "prometheus", "--runbook", "not a url"]) == Exit.USAGE
