"""``completion``: what a shell needs to complete the commands and their options.

Written from the parser, because shtab, the usual generator, knows no fish.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping

from dmvpn_agent.cli.grammar import Command, Option, commands, options
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import say


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def run(arguments: Namespace) -> int:
    """Print the file; return the exit status."""
    from dmvpn_agent.cli.main import parser  # noqa: PLC0415  it imports this module

    top = parser()
    say(_SHELLS[arguments.shell](commands(top), options(top)))
    return Exit.HEALTHY


def _words(command: Command) -> Iterator[str]:
    """Yield what may follow a command: options, actions, and choices of arguments."""
    for option in command.options:
        yield from option.names
    for argument in command.arguments:
        yield from argument.choices
    for action in command.actions:
        yield action.name


def bash(found: tuple[Command, ...], top: tuple[Option, ...]) -> str:
    """Return the completion for bash, which needs nothing of the package bash-completion."""
    names = " ".join(command.name for command in found)
    flags = " ".join(name for option in top for name in option.names)
    cases = "\n".join(f"        {command.name}) words={_quoted(' '.join(_words(command)))} ;;" for command in found)
    every = {option.names: option for command in found for option in command.options}.values()
    values = "\n".join(
        f'        {"|".join(option.names)}) COMPREPLY=($(compgen -W {_quoted(" ".join(option.choices))} -- "$now"));'
        " return ;;"
        for option in every
        if option.choices
    )
    paths = "|".join(name for option in every if option.takes_path for name in option.names)
    takes = "|".join(name for option in every if option.value for name in option.names)
    return f"""# bash completion of dmvpn-agent: source it, or install it as
# /usr/share/bash-completion/completions/dmvpn-agent
_dmvpn_agent() {{
    local now=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= words= word skip=
    case $before in
        {paths}) COMPREPLY=($(compgen -f -- "$now")); return ;;
{values}
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [ -n "$skip" ]; then skip=; continue; fi
        case $word in
            {takes}) skip=1 ;;
            -*) ;;
            *) command=$word; break ;;
        esac
    done
    case $command in
        "") words={_quoted(f"{names} {flags}")} ;;
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$now"))
    [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$now"))
}}
complete -F _dmvpn_agent dmvpn-agent"""


def zsh(found: tuple[Command, ...], top: tuple[Option, ...]) -> str:
    """Return the completion for zsh."""
    listed = "\n".join(f"        {_quoted(f'{_escaped(one.name)}:{_first(one.help)}')}" for one in found)
    cases = "\n".join(
        f"        {command.name})\n            _arguments {_zsh_arguments(command)} ;;" for command in found
    )
    flags = " ".join(_zsh_option(option) for option in top)
    return f"""#compdef dmvpn-agent
# zsh completion of dmvpn-agent: install it as _dmvpn-agent in a folder of $fpath
_dmvpn_agent() {{
    local -a known
    local context state state_descr line
    typeset -A opt_args
    known=(
{listed}
    )
    _arguments -C {flags} '1: :->command' '*:: :->rest'
    case $state in
        command) _describe command known ;;
        rest)
            case $words[1] in
{cases}
            esac ;;
    esac
}}
_dmvpn_agent "$@\""""


def _zsh_arguments(command: Command) -> str:
    parts = [_zsh_option(option) for option in command.options]
    for argument in command.arguments:
        parts.append(_quoted(f"*:{argument.value.lower()}:{_zsh_values(argument)}"))
    if command.actions:
        parts.append(_quoted(f"1:action:({' '.join(one.name for one in command.actions)})"))
    return " ".join(parts)


def _zsh_option(option: Option) -> str:
    value = f":{option.value.lower()}:{_zsh_values(option)}" if option.value else ""
    text = _first(option.help).replace("[", "(").replace("]", ")")
    return " ".join(_quoted(f"{name}[{text}]{value}") for name in option.names)


def _zsh_values(option: Option) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    return "_files" if option.takes_path else ""


def fish(found: tuple[Command, ...], top: tuple[Option, ...]) -> str:
    """Return the completion for fish."""
    names = " ".join(command.name for command in found)
    lines = [
        "# fish completion of dmvpn-agent: install it as ~/.config/fish/completions/dmvpn-agent.fish",
        "complete -c dmvpn-agent -f",
    ]
    unused = f"not __fish_seen_subcommand_from {names}"
    for command in found:
        lines.append(
            f"complete -c dmvpn-agent -n {_quoted(unused)} -a {command.name} -d {_quoted(_first(command.help))}"
        )
    lines += [_fish_option(option, unused) for option in top]
    for command in found:
        used = f"__fish_seen_subcommand_from {command.name}"
        lines += [_fish_option(option, used) for option in command.options]
        words = [word for word in _words(command) if not word.startswith("-")]
        if words:
            lines.append(f"complete -c dmvpn-agent -n {_quoted(used)} -a {_quoted(' '.join(words))}")
        if any(argument.takes_path for argument in command.arguments):
            lines.append(f"complete -c dmvpn-agent -n {_quoted(used)} -F")
    return "\n".join(lines)


def _fish_option(option: Option, condition: str) -> str:
    parts = ["complete", "-c", "dmvpn-agent", "-n", _quoted(condition)]
    for name in option.names:
        parts += ["-l", name.removeprefix("--")] if name.startswith("--") else ["-s", name.removeprefix("-")]
    if option.choices:
        parts += ["-x", "-a", _quoted(" ".join(option.choices))]
    elif option.value:
        parts += ["-r", "-F"] if option.takes_path else ["-x"]
    return " ".join([*parts, "-d", _quoted(_first(option.help))])


def _first(text: str) -> str:
    """Return the first sentence, without its explanation."""
    return text.partition(". ")[0].partition(" (")[0].partition(": ")[0].rstrip(".")


def _escaped(text: str) -> str:
    return text.replace(":", "\\:")


def _quoted(text: str) -> str:
    """Return a text as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS: Mapping[str, Callable[[tuple[Command, ...], tuple[Option, ...]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}
