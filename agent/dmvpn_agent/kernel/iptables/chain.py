"""The agent's chain: as it is desired, and as ``iptables-save`` shows it.

The chain lies in table security, which the kernel passes after table filter: it sees what the firewall has let
through and nothing else, wherever in its chains a firewall accepts or drops. Firewalls leave this table alone.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from dmvpn_agent.addresses import IP_VERSIONS
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables import multicast_rule, redirect_rule
from dmvpn_agent.kernel.nftables.multicast_rule import GROUPS, MulticastRule
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.shown_table import Count

TABLE, CHAIN = "security", "dmvpn_agent"
#: How many pairs of networks the kernel limits at the same time. It drops the packets of further pairs.
MAX_PAIRS = 524288
#: The limits of xt_limit: packets a second, and at once. A rate is one of these packets divided by a whole number.
_MOST = 10_000
#: How many packets a second are looked at, at most: one peer can make up any number of pairs.
_LOOKED_AT = 2_500
#: The longest time in milliseconds that a pair stays known without a packet.
_LONGEST = 3_600_000
#: How often, in milliseconds, the kernel forgets idle pairs.
_COLLECTED = 1000

#: What to do if iptables cannot be run or refuses the chain.
REMEDY = (
    "install iptables 1.6.2 or later; the kernel needs xt_limit, xt_hashlimit and xt_NFLOG, for a legacy iptables"
    " also iptable_security; a legacy iptables needs root, or CAP_NET_RAW and write access to"
    " /run/xtables.lock (docs/iptables.md)"
)

_RULE = re.compile(r"^(?:\[(\d+):(\d+)\] )?-A (\S+) (.*)$")


class SaveFormatError(Exception):
    """Unexpected output of iptables-save."""


@dataclass(frozen=True, slots=True)
class Chain:
    """``rules``: their arguments after ``-A dmvpn_agent``. ``hooks``: the kernel's chains that jump here first."""

    rules: tuple[str, ...]
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownChain:
    """``rules`` in iptables' own words, which differ by version; ``jumps``: how many rules of each chain lead here.

    ``counts``: what the rules have counted, by the name of the nftables counter with the same meaning.
    """

    rules: tuple[str, ...]
    jumps: Mapping[str, int]
    counts: Mapping[Hashable, Count] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chains of a node, by IP version. ``variant`` of iptables: ``nf_tables`` or ``legacy``."""

    variant: str
    chains: Mapping[int, ShownChain | None]


#: No chain is desired.
NO_CHAINS = ChainState("", {})


def matches(wanted: Chain, shown: ShownChain | None) -> bool:
    """Tell whether the chain has as many rules as desired, and the jumps to them, whatever words iptables uses."""
    if shown is None or len(shown.rules) != len(wanted.rules):
        return False
    return shown.jumps == dict.fromkeys(wanted.hooks, 1)


def desired_chain(settings: ChainSettings, version: int) -> Chain | None:
    """Return the chain for packets of an IP version, ``None`` if there is to be none."""
    rules: list[str] = []
    hooks: list[str] = []
    if settings.redirect and version in settings.versions:
        rules += _redirect(settings.redirect, version)
        hooks.append("FORWARD")
    if settings.multicast and version == 4:
        rules += _multicast(settings.multicast)
        hooks.append("OUTPUT")
    return Chain(tuple(rules), tuple(hooks)) if rules else None


def desired_chains(settings: ChainSettings) -> dict[int, Chain]:
    """Return all desired chains by IP version."""
    chains = {version: desired_chain(settings, version) for version in IP_VERSIONS}
    return {version: chain for version, chain in chains.items() if chain is not None}


def _redirect(rule: RedirectRule, version: int) -> Iterator[str]:
    """Yield the rule of each interface.

    The kernel finds the limits of a name again as they were, whatever a new rule says; so the name has their values.
    A pair that sent nothing while it gained all its packets back is as good as new, and is forgotten. Only so many
    packets reach the limits that the pairs never become too many, on all interfaces together.
    """
    source, destination = (
        (rule.source_prefix_length, rule.destination_prefix_length)
        if version == 4
        else (rule.source_prefix_length_ipv6, rule.destination_prefix_length_ipv6)
    )
    idle = min(max(1000, rule.burst * 60_000 // rule.rate_per_minute + 1), _LONGEST)
    name = f"{CHAIN}_{rule.rate_per_minute}_{rule.burst}_{source}_{destination}"
    most = (MAX_PAIRS // len(rule.interfaces) - _MOST) * 1000 // (idle + 2 * _COLLECTED)
    looked_at = _MOST // -(-_MOST // max(1, min(most, _LOOKED_AT)))
    for interface in rule.interfaces:
        yield (
            f"-i {interface} -o {interface} -m limit --limit {looked_at}/second --limit-burst {_MOST}"
            f" -m hashlimit --hashlimit-upto {rule.rate_per_minute}/minute"
            f" --hashlimit-burst {rule.burst} --hashlimit-mode srcip,dstip"
            f" --hashlimit-srcmask {source} --hashlimit-dstmask {destination}"
            f" --hashlimit-htable-max {MAX_PAIRS} --hashlimit-htable-expire {idle} --hashlimit-name {name}"
            f" -j NFLOG --nflog-group {rule.nflog_group} --nflog-size {rule.snaplen} --nflog-threshold 1"
        )


def _multicast(rule: MulticastRule) -> Iterator[str]:
    """Yield the rules of each interface. UDP packets need checksum offload switched off at the interface."""
    for interface in rule.interfaces:
        packets = f"-o {interface} -d {GROUPS}"
        yield f"{packets} -j NFLOG --nflog-group {rule.nflog_group} --nflog-threshold 1"
        yield f"{packets} -j DROP"


def parse_save(text: str) -> ShownChain | None:
    """Read ``iptables-save -c -t security``; ``None`` without the chain. Raises ``SaveFormatError``."""
    lines = text.splitlines()
    if not any(line == f"*{TABLE}" for line in lines):
        raise SaveFormatError(f"unexpected output of iptables-save, not table {TABLE}: {text[:200]!r}")
    if not any(line.startswith(f":{CHAIN} ") for line in lines):
        return None
    rules: list[str] = []
    jumps = Counter[str]()
    counts: dict[Hashable, Count] = {}
    for found in filter(None, map(_RULE.match, lines)):
        packets, octets, chain, rule = found.groups()
        if chain != CHAIN:
            jumps[chain] += rule == f"-j {CHAIN}"
            continue
        rules.append(rule)
        if name := _counter(rule):
            before = counts.get(name, Count(0, 0))
            counts[name] = Count(before.packets + int(packets or 0), before.bytes + int(octets or 0))
    return ShownChain(tuple(rules), {name: number for name, number in jumps.items() if number}, counts)


def _counter(rule: str) -> str | None:
    if "NFLOG" not in rule:
        return None
    return redirect_rule.COUNTER if "hashlimit" in rule else multicast_rule.COUNTER
