"""The table ``[policy.groups]``."""

from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Parser, Table
from dmvpn_agent.policy.groups import ANY, Group, GroupRule, Groups


def _name(value: Any) -> str:
    text = parse.word.parse(value)
    if not (text.isascii() and text.replace("_", "").isalnum() and len(text) <= 20):
        raise ValueError
    return text


_names: Parser[str] = Parser("a group's name: letters, digits and _, 20 characters at most", _name)


def _pair(value: Any) -> tuple[str, str]:
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)):
        raise ValueError
    return value[0], value[1]


_between: Parser[tuple[str, str]] = Parser('two groups, as ["branches", "servers"]; "*" for everybody', _pair)
_verdict = parse.one_of("accept", "drop")


def read_groups(table: Table) -> Groups:
    """Read the groups and the rules over them. Raises ``ConfigError``, also for a rule over an unknown group."""
    groups = tuple(_group(name, inner) for name, inner in table.tables("members", _names))
    known = {ANY, *(group.name for group in groups)}
    rules = []
    for row in table.rows("rule"):
        rule = GroupRule(row.get("between", _between), row.get("action", _verdict) == "accept")
        if unknown := [name for name in rule.between if name not in known]:
            raise ConfigError(f"{row.name}.between names {unknown[0]!r}; expected one of policy.groups.members, or *")
        rules.append(rule)
    return Groups(groups, tuple(rules), table.get("default", _verdict, "accept") == "accept")


def _group(name: str, table: Table) -> Group:
    return Group(
        name,
        subjects=table.get("subjects", parse.patterns, []),
        units=table.get("units", parse.patterns, []),
        labels=table.get("labels", parse.patterns, []),
        networks=table.get("networks", parse.networks(), []),
    )
