"""Parsers for ``ip xfrm policy``, ``ip -json -details address``, ``ip -json route`` and nhrpd's configuration."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from dmvpn_agent.doctor.node import LinkView, NhrpdView, TrapPolicy
from dmvpn_agent.runtime import json_values as typed

_SELECTOR = re.compile(r"src (\S+) dst (\S+) proto (?:gre|47)\b")
_VERSIONS = {"ip": 4, "ipv6": 6}
_REQID = re.compile(r"proto esp .*reqid (\d+)(?:\(\S+\))? mode (\S+)")


def parse_traps(text: str) -> Iterator[TrapPolicy]:
    """Yield the outgoing policies for GRE to any address from ``ip xfrm policy``. Raises ``ValueError``."""
    for block in re.split(r"^(?=src )", text, flags=re.MULTILINE):
        selector, template = _SELECTOR.match(block), _REQID.search(block)
        outgoing = re.search(r"^\s+dir out\b", block, flags=re.MULTILINE)
        if selector and template and outgoing and ip_network(selector[2]).prefixlen == 0:
            yield TrapPolicy(ip_network(selector[1]), int(template[1]), template[2])


def parse_links(text: str) -> dict[str, LinkView]:
    """Return the interfaces from ``ip -json -details address``. Raises ``ValueError``."""
    try:
        return {
            typed.text(link["ifname"]): LinkView(
                kind=typed.text(link.get("linkinfo", {}).get("info_kind", "none")),
                up="UP" in link["flags"],
                multicast="MULTICAST" in link["flags"],
                mtu=typed.integer(link["mtu"]),
                key=_key(_data(link)),
                addresses=_addresses(link, "global"),
                link_local=_addresses(link, "link"),
                local=_data(link).get("local"),
                device=_data(link).get("link"),
            )
            for link in typed.items(typed.document(text))
            if "ifname" in link
        }  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"ip printed no interfaces: {error!r}") from error


def _data(link: Mapping[str, Any]) -> Mapping[str, Any]:
    return typed.mapping(link.get("linkinfo", {}).get("info_data", {}))


def _addresses(link: Mapping[str, Any], scope: str) -> tuple[str, ...]:
    return tuple(f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", ()) if one["scope"] == scope)


def _key(data: Mapping[str, Any]) -> str | None:
    """Return a tunnel's incoming key as ``ip`` prints it, if any."""
    return str(data["ikey"]) if "ikey" in data else None


def parse_route(text: str) -> str:
    """Return type and protocol of the first route from ``ip -json route``, empty if none. Raises ``ValueError``."""
    try:
        routes = [typed.mapping(route) for route in typed.items(typed.document(text or "[]"))]
        words = [typed.text(routes[0].get("type", "unicast")), typed.text(routes[0]["protocol"])] if routes else []
    except (KeyError, TypeError) as error:
        raise ValueError(f"ip printed no routes: {error!r}") from error
    return " ".join(words)


def parse_nhrpd(text: str) -> NhrpdView:
    """Read nhrpd's part of the running configuration. Raises ``ValueError`` if it has no version line."""
    version = re.search(r"^frr version (\S+)", text, flags=re.MULTILINE)
    if version is None:
        raise ValueError("nhrpd returned no configuration")
    event_socket, group, multicast_group, interface = None, None, None, ""
    profiles: dict[str, str] = {}
    networks: set[tuple[str, int]] = set()
    redirects: set[tuple[str, int]] = set()
    multicasts: set[tuple[str, int]] = set()
    for line in text.splitlines():
        match line.split():
            case ["interface", name, *_] if not line.startswith(" "):
                interface = name
            case ["exit" | "!"]:
                interface = ""
            case ["nhrp", "event", "socket", path]:
                event_socket = path
            case ["nhrp", "nflog-group", number] if number.isdecimal():
                group = int(number)
            case ["nhrp", "multicast-nflog-group", number] if number.isdecimal():
                multicast_group = int(number)
            case ["tunnel", "protection", "vici", "profile", profile, *_] if interface:
                profiles[interface] = profile
            case ["ip" | "ipv6" as family, "nhrp", "network-id", _] if interface:
                networks.add((interface, _VERSIONS[family]))
            case ["ip" | "ipv6" as family, "nhrp", "redirect"] if interface:
                redirects.add((interface, _VERSIONS[family]))
            case ["ip" | "ipv6" as family, "nhrp", "map", "multicast", _] if interface:
                multicasts.add((interface, _VERSIONS[family]))
    lines = frozenset(networks), frozenset(redirects)
    return NhrpdView(version[1], event_socket, group, profiles, *lines, multicast_group, frozenset(multicasts))
