"""Our nftables table as a script, and what nft shows of it: the redirect rule, and whose packets are dropped.

A table of our own holds it, so that it is replaced in one transaction and nothing of the operator's is touched.
It is written as text: nft 1.0.6 reads no ``dynamic`` flag from JSON.
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
#: What is compared of the objects in our table: what ``render`` says of them. nft shows more, and more with each
#: version: handles, and from 1.1.4 on how many elements a set has (``count``). ``elem`` of a set is not ours.
_COMPARED = {
    "table": frozenset({"family", "name"}),
    "set": frozenset({"family", "table", "name", "type", "flags", "size", "timeout"}),
    "chain": frozenset({"family", "table", "name", "type", "hook", "prio", "policy"}),
    "rule": frozenset({"family", "table", "chain", "expr"}),
}
#: An address and UDP port, as the kernel is told of a peer behind a NAT.
UdpEndpoint = tuple[Address, int]


class NftFormatError(Exception):
    """nft printed something that is not in the form this program knows."""


@dataclass(frozen=True, slots=True)
class ShownTable:
    """Our table as nft shows it: ``content`` is what ``render`` wrote, ``packets`` what the rule has logged.

    How nft words a rule differs by version, so ``content`` is only good for comparing two looks with one another.
    What is in our table and not of our making is in ``content`` too.
    """

    content: str
    packets: int


def render(rule: RedirectRule, blocked: Mapping[UdpEndpoint, int] | None = None) -> str:
    """Return the script for ``nft -f -`` that makes our table hold just this rule, in one transaction.

    ``blocked`` has what must stay dropped in the new table, and for how many seconds. The table is named before it
    is deleted, so that the deletion succeeds where there is none yet.
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
{"".join(render_block(end, seconds) for end, seconds in (blocked or {}).items())}"""


def _redirections(rule: RedirectRule) -> tuple[str, str]:
    """Return what is done with an IPv4 packet, and with an IPv6 packet, that could have gone direct."""
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


def render_block(end: UdpEndpoint, seconds: int) -> str:
    """Return the script that has our table drop what comes from an address and UDP port, for so long."""
    return f"add element {TABLE} blocked {{ {end[0]} . {end[1]} timeout {seconds}s }}\n"


def render_unblock(end: UdpEndpoint) -> str:
    """Return the script that takes that back."""
    return f"delete element {TABLE} blocked {{ {end[0]} . {end[1]} }}\n"


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
        raise NftFormatError(f"nft printed no table: {text[:200]!r}") from error


def _compared(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return of a shown object what we wrote; one of another kind is not ours, and is returned whole."""
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
