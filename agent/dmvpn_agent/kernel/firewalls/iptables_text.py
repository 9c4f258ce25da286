"""Reads what ``iptables-save`` prints."""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping

from dmvpn_agent.kernel.firewalls.rules import UNKNOWN, Chain, Condition, Field, Rule, Table, Verdict

#: linux/netfilter_ipv4.h: the order of the tables in a hook. Table nat drops nothing.
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_HOOKS = {name.upper(): name for name in ("prerouting", "input", "forward", "output", "postrouting")}
_VERDICTS = {"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "REJECT": Verdict.DROP, "RETURN": Verdict.RETURN,
             "NFQUEUE": Verdict.ACCEPT}  # fmt: skip
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58,
             "sctp": 132, "udplite": 136}  # fmt: skip
#: Modules that match nothing without an option.
_MODULES = frozenset({"tcp", "udp", "sctp", "udplite", "icmp", "icmp6", "comment", "multiport", "conntrack", "state",
                      "policy", "hashlimit", "limit", "addrtype", "mark", "connmark", "set"})  # fmt: skip

_Read = Callable[[str], tuple[str | int | range, ...]]


def read_iptables(text: str, version: int) -> Iterator[Table]:
    """Yield the tables of a program's output, ``iptables`` for version 4. Raises ``ValueError``."""
    program, name = "iptables" if version == 4 else "ip6tables", ""
    policies, rules = dict[str, str](), dict[str, list[Rule]]()
    for line in text.splitlines():
        if line.startswith("*"):
            name, policies, rules = line[1:].strip(), {}, {}
        elif line == "COMMIT" and name in _PRIORITIES:
            chains = {
                chain: Chain(tuple(rules[chain]), _HOOKS.get(chain, ""), _PRIORITIES[name], policy == "DROP")
                for chain, policy in policies.items()
            }
            yield Table(f"{program} {name}", frozenset({version}), chains)
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            policies[chain], rules[chain] = policy, []
        elif line.startswith("-A "):
            words = shlex.split(line)
            if words[1] not in rules:
                raise ValueError(f"{program}-save: no chain {words[1]}")
            rules[words[1]].append(_rule(words[2:], line, policies))


def _rule(words: list[str], line: str, chains: Collection[str]) -> Rule:
    conditions: list[Condition] = []
    verdict, target, negated = Verdict.CONTINUE, "", False
    rest = iter(words)
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word in {"-j", "-g"}:
            target = next(rest, "")
            verdict = _VERDICTS.get(target, Verdict.CONTINUE)
            if target in chains:
                verdict = Verdict.GOTO if word == "-g" else Verdict.JUMP
            break  # what follows belongs to the target
        conditions += _condition(word, rest, negated=negated)
        negated = False
    return Rule(tuple(conditions), verdict, line, target)


def _condition(word: str, rest: Iterator[str], *, negated: bool) -> tuple[Condition, ...]:
    """Return the conditions of an option, and take its values."""
    if word == "-m":
        return () if next(rest, "") in _MODULES else (UNKNOWN,)
    if word in {"--comment", "--dir"}:
        next(rest, "")
        return ()
    if word in _KNOWN:
        field, read = _KNOWN[word]
        try:
            return (Condition(field, read(next(rest, "")), negated),)
        except ValueError:
            return (UNKNOWN,)
    return (UNKNOWN,) if word.startswith("-") else ()


def _interface(text: str) -> tuple[str]:
    return (f"{text[:-1]}*" if text.endswith("+") else text,)


def _protocol(text: str) -> tuple[int | range, ...]:
    if text == "all":
        return (range(256),)
    return (PROTOCOLS[text] if text in PROTOCOLS else int(text),)


def _ports(text: str) -> tuple[range, ...]:
    return tuple(
        range(int(low), int(high or low) + 1) for low, _, high in (p.partition(":") for p in text.split(","))
    )


def _states(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split(","))


_KNOWN: Mapping[str, tuple[Field, _Read]] = {
    "-i": (Field.RECEIVED_BY, _interface),
    "-o": (Field.SENT_BY, _interface),
    "-p": (Field.PROTOCOL, _protocol),
    "--dport": (Field.PORT, _ports),
    "--dports": (Field.PORT, _ports),
    "--ctstate": (Field.STATE, _states),
    "--state": (Field.STATE, _states),
    "--dst-type": (Field.DESTINATION, _states),
    "--pol": (Field.IPSEC, lambda text: (int(text == "ipsec"),)),
}
