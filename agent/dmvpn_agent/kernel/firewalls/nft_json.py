"""Reads what ``nft -j list ruleset`` prints."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dmvpn_agent.kernel.firewalls.iptables_text import PROTOCOLS
from dmvpn_agent.kernel.firewalls.rules import UNKNOWN, Chain, Condition, Field, Rule, Table, Verdict
from dmvpn_agent.runtime import json_values as typed

_VERSIONS = {"ip": frozenset({4}), "ip6": frozenset({6}), "inet": frozenset({4, 6})}
_VERDICTS = {
    "accept": Verdict.ACCEPT, "drop": Verdict.DROP, "reject": Verdict.DROP, "return": Verdict.RETURN,
    "jump": Verdict.JUMP, "goto": Verdict.GOTO, "queue": Verdict.ACCEPT,
}  # fmt: skip
_META = {
    "iifname": Field.RECEIVED_BY, "iif": Field.RECEIVED_BY, "oifname": Field.SENT_BY, "oif": Field.SENT_BY,
    "l4proto": Field.PROTOCOL, "nfproto": Field.VERSION, "protocol": Field.VERSION,
    "ipsec": Field.IPSEC, "secpath": Field.IPSEC,
}  # fmt: skip
_FAMILIES = {"ipv4": 4, "ipv6": 6, "ip": 4, "ip6": 6, "arp": 0}
_PORTS = {"tcp", "udp", "th", "sctp", "udplite"}
#: Statements that neither match nor decide.
_HARMLESS = frozenset({"counter", "log", "mangle", "notrack", "comment", "ct helper", "ct timeout", "ct expectation",
                       "flow", "masquerade", "snat", "dnat", "redirect", "dup", "fwd"})  # fmt: skip
_OPERATORS = {"==": False, "in": False, "!=": True}


def read_nft(text: str) -> Iterator[Table]:
    """Yield the tables of the families that see IP packets. Raises ``ValueError``."""
    chains: dict[tuple[str, str], dict[str, Chain]] = {}
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    try:
        for item in typed.items(typed.mapping(typed.document(text))["nftables"]):
            ((kind, value),) = typed.mapping(item).items()
            if kind == "table" and value["family"] in _VERSIONS:
                chains[value["family"], value["name"]] = {}
            elif kind == "chain" and value["family"] in _VERSIONS:
                chains[value["family"], value["table"]][value["name"]] = _chain(value)
            elif kind == "rule" and value["family"] in _VERSIONS:
                rules.setdefault((value["family"], value["table"], value["chain"]), []).extend(_rules(value))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"nft printed no ruleset: {error!r}") from error
    for (family, name), found in chains.items():
        filled = {
            chain: replace(one, rules=tuple(rules.get((family, name, chain), ()))) for chain, one in found.items()
        }
        yield Table(f"{family} {name}", _VERSIONS[family], filled)


def _chain(item: Mapping[str, Any]) -> Chain:
    filters = item.get("type") in {"filter", "route"}
    return Chain((), item.get("hook", "") if filters else "", item.get("prio", 0), item.get("policy") == "drop")


def _rules(item: Mapping[str, Any]) -> Iterator[Rule]:
    """Yield a rule; of a verdict map one for each of its elements."""
    conditions: list[Condition] = []
    where = f"rule with handle {item.get('handle', '?')}"
    for statement in item.get("expr", ()):
        ((name, value),) = statement.items()
        if name == "match":
            conditions += _match(value)
        elif name in _VERDICTS:
            target = value["target"] if name in {"jump", "goto"} else ""
            yield Rule(tuple(conditions), _VERDICTS[name], f"{where}: {name}", target)
        elif name == "vmap":
            yield from _map(value, tuple(conditions), where)
        elif name not in _HARMLESS:
            conditions.append(UNKNOWN)


def _map(value: Mapping[str, Any], conditions: tuple[Condition, ...], where: str) -> Iterator[Rule]:
    elements = value["data"].get("set") if isinstance(value["data"], dict) else None
    if elements is None:  # a named map: its elements may accept
        yield Rule((*conditions, UNKNOWN), Verdict.ACCEPT, where)
        return
    for key, verdict in elements:
        ((name, found),) = verdict.items()
        wanted = _match({"op": "==", "left": value["key"], "right": key})
        target = found["target"] if name in {"jump", "goto"} else ""
        yield Rule((*conditions, *wanted), _VERDICTS.get(name, Verdict.CONTINUE), f"{where}: {name}", target)


def _match(value: Mapping[str, Any]) -> tuple[Condition, ...]:
    negated, left, right = _OPERATORS.get(value["op"]), value["left"], value["right"]
    field, implied = _field(left)
    if field is Field.OTHER or negated is None:
        return (*implied, UNKNOWN)
    try:
        return (*implied, Condition(field, tuple(_values(right, field)), negated))
    except (ValueError, KeyError, TypeError):
        return (*implied, UNKNOWN)


def _field(left: Any) -> tuple[Field, tuple[Condition, ...]]:
    """Return what a match looks at, and what else it implies: ``tcp dport`` that the packet is TCP."""
    if not isinstance(left, dict):
        return Field.OTHER, ()
    ((kind, value),) = left.items()
    if kind == "meta":
        return _META.get(value["key"], Field.OTHER), ()
    if kind == "ct":
        return {"state": Field.STATE, "status": Field.STATUS}.get(value["key"], Field.OTHER), ()
    if kind == "fib":
        asks_kind = value["result"] == "type" and value["flags"] in (["daddr"], "daddr")
        return Field.DESTINATION if asks_kind else Field.OTHER, ()
    if kind != "payload" or "protocol" not in value:
        return Field.OTHER, ()
    protocol, name = value["protocol"], value["field"]
    if protocol in {"ip", "ip6"}:
        field = Field.PROTOCOL if name in {"protocol", "nexthdr"} else Field.OTHER
        return field, (Condition(Field.VERSION, (_FAMILIES[protocol],)),)
    implied = () if protocol == "th" else (Condition(Field.PROTOCOL, (_protocol(protocol),)),)
    return Field.PORT if name == "dport" and protocol in _PORTS else Field.OTHER, implied


def _values(right: Any, field: Field) -> Iterator[str | int | range]:
    if isinstance(right, list):
        for one in right:
            yield from _values(one, field)
    elif isinstance(right, dict):
        ((kind, value),) = right.items()
        if kind == "set":
            yield from _values(value, field)
        elif kind == "range":
            yield range(int(value[0]), int(value[1]) + 1)
        else:
            raise ValueError(kind)
    elif isinstance(right, bool):
        yield int(right)
    elif isinstance(right, str) and right.startswith("@"):
        raise ValueError(right)
    elif field is Field.PROTOCOL:
        yield _protocol(right)
    elif field is Field.VERSION:
        yield _FAMILIES[right]
    elif field is Field.PORT:
        yield int(right)
    else:
        yield right


def _protocol(name: str | int) -> int:
    """Return a protocol's number. Raises ``ValueError``."""
    if isinstance(name, int):
        return name
    return PROTOCOLS[name] if name in PROTOCOLS else int(name)
