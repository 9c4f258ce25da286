"""``completion``: what a shell needs to complete the commands and their options.

Written from the parser, because shtab, the usual generator, knows no fish.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping

from dmvpn_agent.cli.grammar import Command, Option, places, whole
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import say


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def run(arguments: Namespace) -> int:
    """Print the file; return the exit status."""
    from dmvpn_agent.cli.main import parser  # noqa: PLC0415  it imports this module

    say(_SHELLS[arguments.shell](tuple(places(whole(parser())))))
    return Exit.HEALTHY


#: Each command and action with the words that lead there; the first is the program, with no words.
Places = tuple[tuple[str, Command], ...]


def _patterns(found: Places, are_so: Callable[[Option], bool]) -> list[str]:
    """Return which options are so, as `WORDS:OPTION` of shells; `*` if the option is so wherever it is known."""
    every: dict[str, list[tuple[str, bool]]] = {}
    for here, command in found:
        for option in command.options:
            for name in option.names:
                every.setdefault(name, []).append((here, are_so(option)))
    return [
        pattern
        for name, uses in every.items()
        for pattern in ([f"*:{name}"] if all(so for _, so in uses) else [f"{here}:{name}" for here, so in uses if so])
    ]


def _descents(found: Places) -> list[str]:
    """Return the words that lead from one place to another, as `WORDS:WORD`."""
    return [f"{here}:{action.name}" for here, command in found for action in command.actions]


def _choices(found: Places) -> dict[tuple[str, ...], list[str]]:
    """Return the options whose values are of a closed list, as patterns, by that list."""
    lists = dict.fromkeys(option.choices for _, one in found for option in one.options if option.choices)
    return {values: _patterns(found, lambda option, values=values: option.choices == values) for values in lists}  # type: ignore[misc]


def _words(command: Command) -> Iterator[str]:
    """Yield what may follow a command: options, actions, and choices of arguments."""
    for option in command.options:
        yield from option.names
    for argument in command.arguments:
        yield from argument.choices
    for action in command.actions:
        yield action.name


def _takes_file(command: Command) -> bool:
    return any(argument.takes_path for argument in command.arguments)


def bash(found: Places) -> str:
    """Return the completion for bash, which needs nothing of the package bash-completion."""
    words = "\n".join(
        f"        {_quoted(here)}) words={_quoted(' '.join(_words(one)))}{' files=1' * _takes_file(one)} ;;"
        for here, one in found
    )
    values = "\n".join(
        f"            {_glob(patterns)}) words={_quoted(' '.join(values))} ;;"
        for values, patterns in _choices(found).items()
    )
    return f"""# bash completion of dmvpn-agent: source it, or install it as
# /usr/share/bash-completion/completions/dmvpn-agent
_dmvpn_agent() {{
    local now=${{COMP_WORDS[COMP_CWORD]}} here= word option= words= files=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [ -n "$option" ]; then
            [ "$word" = "=" ] || option=
            continue
        fi
        case "$here:$word" in
            {_glob(_patterns(found, _takes_value))}) option=$word ;;
            *:-*) ;;
            {_glob(_descents(found))}) here="${{here:+$here }}$word" ;;
            *) break ;;
        esac
    done
    if [ -n "$option" ]; then
        [ "$now" != "=" ] || now=
        case "$here:$option" in
            {_glob(_patterns(found, _takes_path))}) files=1 ;;
{values}
        esac
    else
        case "$here" in
{words}
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$now")
    if [ -n "$files" ] && [ ${{#COMPREPLY[@]}} -eq 0 ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$now")
    fi
}}
complete -F _dmvpn_agent dmvpn-agent"""


def zsh(found: Places) -> str:
    """Return the completion for zsh."""
    cases = "\n".join(f"        {_quoted(here)})\n{_zsh_case(command)} ;;" for here, command in found)
    return f"""#compdef dmvpn-agent
# zsh completion of dmvpn-agent: install it as _dmvpn-agent in a folder of $fpath
_dmvpn_agent_actions() {{ _describe command known }}
_dmvpn_agent() {{
    local here= word option= at=1 index
    local -a known
    for (( index = 2; index < CURRENT; index++ )); do
        word=$words[index]
        if [[ -n $option ]]; then option=; continue; fi
        case "$here:$word" in
            {_glob(_patterns(found, _takes_value))}) option=$word ;;
            *:-*) ;;
            {_glob(_descents(found))}) here="${{here:+$here }}$word"; at=$index ;;
            *) break ;;
        esac
    done
    words=("${{(@)words[at,-1]}}")
    (( CURRENT -= at - 1 ))
    case $here in
{cases}
    esac
}}
_dmvpn_agent "$@\""""


def _zsh_case(command: Command) -> str:
    specs = [spec for option in command.options for spec in _zsh_option(option)]
    for number, argument in enumerate(command.arguments, 1):
        place = "*" if argument.repeats else str(number)
        specs.append(_quoted(f"{place}:{_colons(argument.value.lower())}:{_zsh_values(argument)}"))
    lines = []
    if command.actions:
        known = (_quoted(f"{_colons(one.name)}:{_first(one.help)}") for one in command.actions)
        lines.append(f"            known=({' '.join(known)})")
        specs.append("'1:command:_dmvpn_agent_actions'")
    return "\n".join([*lines, f"            _arguments {' '.join(specs)}"])


def _zsh_option(option: Option) -> Iterator[str]:
    text = _first(option.help).replace("[", "(").replace("]", ")")
    value = f":{_colons(option.value.lower())}:{_zsh_values(option)}" if option.value else ""
    before = "*" if option.repeats else f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    for name in option.names:
        joined = "=" if value and name.startswith("--") else ""
        yield _quoted(f"{before}{name}{joined}[{text}]{value}")


def _zsh_values(option: Option) -> str:
    if option.choices:
        return f"({' '.join(option.choices)})"
    return "_files" if option.takes_path else " "


def fish(found: Places) -> str:
    """Return the completion for fish."""
    lines = [
        f"""# fish completion of dmvpn-agent: install it as ~/.config/fish/completions/dmvpn-agent.fish
function __dmvpn_agent_at --description 'Whether what was typed leads to these words'
    set -l here
    set -l option
    set -l typed (commandline -opc)
    for word in $typed[2..-1]
        if test -n "$option"
            set option
            continue
        end
        switch "$here:$word"
            case {_fish_words(_patterns(found, _takes_value))}
                set option $word
            case '*:-*'
            case {_fish_words(_descents(found))}
                set here (string trim "$here $word")
            case '*'
                break
        end
    end
    test "$here" = "$argv[1]"
end
complete -c dmvpn-agent -f"""
    ]
    for here, command in found:
        complete = f"complete -c dmvpn-agent -n {_quoted(f'__dmvpn_agent_at {_quoted(here)}')}"
        lines += [f"{complete} -a {one.name} -d {_quoted(_first(one.help))}" for one in command.actions]
        lines += [f"{complete} {_fish_option(option)}" for option in command.options]
        choices = [word for argument in command.arguments for word in argument.choices]
        if choices:
            lines.append(f"{complete} -a {_quoted(' '.join(choices))}")
        if _takes_file(command):
            lines.append(f"{complete} -F")
    return "\n".join(lines)


def _fish_option(option: Option) -> str:
    parts = []
    for name in option.names:
        parts += ["-l", name.removeprefix("--")] if name.startswith("--") else ["-s", name.removeprefix("-")]
    if option.choices:
        parts += ["-x", "-a", _quoted(" ".join(option.choices))]
    elif option.value:
        parts += ["-r", "-F"] if option.takes_path else ["-x"]
    return " ".join([*parts, "-d", _quoted(_first(option.help))])


def _fish_words(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def _glob(patterns: Iterable[str]) -> str:
    """Return patterns of bash's and zsh's ``case``: quoted, but for a `*` at the beginning."""
    return "|".join(f"*{_quoted(one[1:])}" if one.startswith("*") else _quoted(one) for one in patterns)


def _takes_value(option: Option) -> bool:
    return bool(option.value)


def _takes_path(option: Option) -> bool:
    return option.takes_path


def _first(text: str) -> str:
    """Return the first sentence, without its explanation."""
    return text.partition(". ")[0].partition(" (")[0].partition(": ")[0].rstrip(".")


def _colons(text: str) -> str:
    return text.replace(":", "\\:")


def _quoted(text: str) -> str:
    """Return a text as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS: Mapping[str, Callable[[Places], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
