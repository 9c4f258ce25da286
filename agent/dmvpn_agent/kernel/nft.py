"""The agent's nftables table, as a script and as nft shows it: the redirect rule, and the blocked UDP endpoints.

The table is the agent's own, so that one transaction replaces it without touching the operator's rules. The script is
text, because nft 1.0.6 does not read the ``dynamic`` flag from JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.redirect_rule import RedirectRule
from dmvpn_agent.runtime import json_values as typed

TABLE = "inet dmvpn_agent"
#: The attributes that ``render`` sets and the agent compares. nft shows others too, and more with each version:
#: handles, and from 1.1.4 on the number of elements of a set (``count``). It does not compare a set's elements.
_COMPARED = {
    "table": frozenset({"family", "name"}),
    "set": frozenset({"family", "table", "name", "type", "flags", "size", "timeout"}),
    "chain": frozenset({"family", "table", "name", "type", "hook", "prio", "policy"}),
    "rule": frozenset({"family", "table", "chain", "expr"}),
}
#: NBMA address and UDP port of a peer behind a NAT.
UdpEndpoint = tuple[Address, int]


class NftFormatError(Exception):
    """Unexpected output of nft."""


@dataclass(frozen=True, slots=True)
class ShownTable:
    """The agent's table as nft shows it. ``packets``: how many the rule has logged.

    ``content`` has everything in the table, whoever wrote it. nft's wording differs by version, so it can only be
    compared with an earlier ``content``.
    """

    content: str
    packets: int


def render(rule: RedirectRule, blocked: Mapping[UdpEndpoint, int] | None = None) -> str:
    """Return the script for ``nft -f -`` that replaces the agent's table in one transaction.

    ``blocked``: the endpoints that stay blocked, and for how many seconds. The script adds the table before it
    deletes it, because deleting a table that does not exist fails.
    """
    rules = "\n".join(
        f'    iifname "{name}" oifname "{name}" {log}' for name in rule.interfaces for log in _redirections(rule)
    )
    return f"""\
table {TABLE}
delete table {TABLE}
table {TABLE} {{
  set redirected {{
    type ipv4_addr . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }}
  set redirected6 {{
    type ipv6_addr . ipv6_addr
    size 65535
    flags dynamic,timeout
    timeout 1m
  }}
  set blocked {{
    type ipv4_addr . inet_service
    size 4096
    flags timeout
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ip saddr . udp sport @blocked drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
{rules}
  }}
}}
{"".join(render_block(endpoint, seconds) for endpoint, seconds in (blocked or {}).items())}"""


def _redirections(rule: RedirectRule) -> tuple[str, str]:
    """Return the statements that log IPv4 and IPv6 packets for which a shortcut is possible."""
    limit = f"limit rate {rule.rate_per_minute}/minute burst {rule.burst} packets"
    log = f"counter log group {rule.nflog_group} snaplen {rule.snaplen}"
    source, destination = (
        IPv4Network((0, length)).netmask for length in (rule.source_prefix_length, rule.destination_prefix_length)
    )
    source6, destination6 = (
        IPv6Network((0, length)).netmask
        for length in (rule.source_prefix_length_ipv6, rule.destination_prefix_length_ipv6)
    )
    return (
        f"update @redirected {{ ip saddr & {source} . ip daddr & {destination} {limit} }} {log}",
        f"update @redirected6 {{ ip6 saddr & {source6} . ip6 daddr & {destination6} {limit} }} {log}",
    )


def render_block(endpoint: UdpEndpoint, seconds: int) -> str:
    """Return the script that drops packets from an endpoint for this many seconds."""
    return f"add element {TABLE} blocked {{ {endpoint[0]} . {endpoint[1]} timeout {seconds}s }}\n"


def render_unblock(endpoint: UdpEndpoint) -> str:
    """Return the script that stops dropping packets from an endpoint."""
    return f"delete element {TABLE} blocked {{ {endpoint[0]} . {endpoint[1]} }}\n"


def parse_table(text: str) -> ShownTable:
    """Read ``nft -j list table``. Raises ``NftFormatError``."""
    try:
        items = typed.mapping(typed.document(text))["nftables"]
        packets = sum(
            typed.integer(expression["counter"]["packets"])
            for item in items
            for expression in item.get("rule", {}).get("expr", ())
            if "counter" in expression
        )
        content = [_compared(item) for item in items if "metainfo" not in item]
        return ShownTable(json.dumps(content, sort_keys=True), packets)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NftFormatError(f"unexpected output of nft, not a table: {text[:200]!r}") from error


def _compared(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes of an object that ``render`` sets; all of them if it writes no such objects."""
    return {
        kind: {key: _without_counters(value) for key, value in shown.items()
               if key in _COMPARED.get(kind, shown.keys())}
        for kind, shown in item.items()
    }  # fmt: skip


def _without_counters(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_counters(item) for key, item in value.items() if key != "counter"}
    if isinstance(value, list):
        return [_without_counters(item) for item in value]
    return value
