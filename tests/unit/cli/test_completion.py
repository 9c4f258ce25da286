"""What bash, zsh and fish offer, each asked itself."""

import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dmvpn_agent.cli.commands import COMMANDS
from dmvpn_agent.cli.main import main

#: What was typed before the tabulator key, and what is offered.
CASES = [
    ("qua", {"quarantine"}),
    ("--no", {"--no-color"}),
    ("-c peers qua", {"quarantine"}),
    ("-c peers peers --exp", {"--expiring"}),
    ("peers --sort fl", {"flaps"}),
    ("--json example pro", {"prometheus"}),
    ("ca si", {"site"}),
    ("ca site re", {"remove"}),
    ("ca node add --passph", {"--passphrase-fd", "--passphrase-file"}),
    ("ca pool add t", {"tunnel"}),
    ("ca pool add tunnel 10", set()),
    ("renew --identity --no", {"--no-color", "--now"}),
    ("explain --identity x --addr", {"--address"}),
    ("check --config ./some", {"some file"}),
    ("explain ./some", {"some file"}),
    ("peer some", set()),
]


def completion(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def bash(text: str, typed: str, folder: Path) -> list[str]:
    script = f"""{text}
COMP_WORDS=(dmvpn-agent {typed})
COMP_CWORD=$((${{#COMP_WORDS[@]}}-1))
_dmvpn_agent
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stderr == ""
    return done.stdout.splitlines()


#: zsh completes in its line editor only: this types for it, and writes down what it adds to its list.
ZSHRC = """
PS1= PS2=
fpath=("$HOME" $fpath)
autoload -Uz compinit && compinit -D -u
compadd() {
    local -a found
    local option
    for option in "$@"; do
        [[ $option == -- ]] && break
        [[ $option == -(A|O|D)* ]] && { builtin compadd "$@"; return }
    done
    builtin compadd -A found "$@"
    print -rl -- $found >> "$HOME/offered"
    builtin compadd "$@"
}
zle-line-init() { BUFFER=$TYPED CURSOR=$#TYPED; zle list-choices; exit }
zle -N zle-line-init
"""


def zsh(text: str, typed: str, folder: Path) -> list[str]:
    home = folder / "home"
    home.mkdir()
    (home / "_dmvpn-agent").write_text(text)
    (home / ".zshrc").write_text(ZSHRC)
    (home / "offered").touch()
    environment = {**os.environ, "HOME": str(home), "ZDOTDIR": str(home), "TYPED": f"dmvpn-agent {typed}",
                   "TERM": "xterm"}  # fmt: skip
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(["zsh", "-o", "NO_GLOBAL_RCS", "-i"], stdin=theirs, stdout=theirs, stderr=theirs,
                                   env=environment, cwd=folder, start_new_session=True)  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while part := screen.read(65536):
                shown += part
        except OSError:  # the terminal has ended
            pass
        process.wait()
    assert b"_arguments:" not in shown  # where it names mistakes in the file
    return (home / "offered").read_text().splitlines()


def fish(text: str, typed: str, folder: Path) -> list[str]:
    (folder / "dmvpn-agent.fish").write_text(text)
    script = "source dmvpn-agent.fish; complete -C $argv[1]"
    argv = ["fish", "--no-config", "-c", script, f"dmvpn-agent {typed}"]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    assert done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("typed", "offered"), CASES, ids=[typed for typed, _ in CASES])
def test_a_shell_completes(
    shell: str, typed: str, offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands and their actions, options before and after them, the values of a closed list, and files."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    (tmp_path / "some file").touch()
    found = {
        one.removeprefix("./").replace("\\", "") for one in SHELLS[shell](completion(shell, capsys), typed, tmp_path)
    }
    assert found - {""} == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_the_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And the shell reads the file, where it is installed."""
    text = completion(shell, capsys)
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", text)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)
