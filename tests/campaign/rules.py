"""The policy as its documentation explains it: defaults, more special tables, what a certificate names."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

from campaign.asn1 import Network
from campaign.pki import Authority, Holder

Address = Any

DEFAULTS: dict[str, Any] = {
    "forbidden_networks": [], "allow_default_route": False, "max_prefix_length": 32, "max_prefix_length_ipv6": 128,
    "max_protocol_addresses": 16, "max_prefixes": 200, "as_numbers": ["64512-65534", "4200000000-4294967294"],
    "allow_ibgp": False, "issuers": [], "subjects": [], "allowed": True, "allow_overclaim": [], "on_conflict": "deny",
}  # fmt: skip
SOURCES = ["subject", "subject_alt_name", "rfc3779", "dmvpn_ca"]


def effective(policy: dict[str, Any], role: str, interface: str, kind: str) -> dict[str, Any]:
    """Return the rules for a kind of peer on an interface: the most special table that has a key counts."""
    tables = [policy, policy.get("interfaces", {}).get(interface, {}), policy.get(kind, {})]
    rules = {**DEFAULTS, "require_hub_role": kind == "hub"}
    if role == "spoke":
        rules["allowed_networks"] = ["0.0.0.0/0", "::/0"]
    for table in tables:
        rules |= {key: value for key, value in table.items() if key in rules or key.endswith("_networks")}
    rules["transit"] = policy.get(kind, {}).get("transit", kind == "hub")
    return rules


def matches(patterns: list[str], *forms: str) -> tuple[bool, bool]:
    """Return whether a name surely matches one of the patterns, and whether it may: in one of its written forms."""
    found = [any(fnmatchcase(form, pattern) for pattern in patterns) for form in forms]
    return all(found), any(found)


def forms(name: tuple[tuple[str, str, int], ...]) -> tuple[str, str]:
    """Return a name first to last, as charon prints it, and as RFC 4514 writes it."""
    parts = [f"{kind}={text}" for kind, text, _ in name]
    return ", ".join(parts), ",".join(reversed(parts))


@dataclass
class Claims:
    """What a certificate names; ``wrong`` are reasons to deny, ``doubts`` are where the documents leave it open."""

    addresses: set[Address] = field(default_factory=set)
    numbers: list[tuple[int, int]] = field(default_factory=list)
    prefixes: set[Network] = field(default_factory=set)
    hub: bool = False
    wrong: set[str] = field(default_factory=set)
    doubts: set[str] = field(default_factory=set)


def _address(text: str) -> Address | None:
    if ":" in text:
        try:
            return None if "%" in text else ip_address(text)
        except ValueError:
            return None
    if not re.fullmatch(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}", text):
        return None
    return ip_address(text) if all(int(part) < 256 for part in text.split(".")) else None


def _units(holder: Holder, claims: Claims) -> tuple[set[Address], list[tuple[int, int]], set[Network], bool]:
    addresses: set[Address] = set()
    numbers: list[tuple[int, int]] = []
    prefixes: set[Network] = set()
    for unit in holder.units:
        key, equals, value = unit.partition("=")
        if not equals or key not in ("GRE", "AS", "NET"):
            continue
        if key == "GRE":
            if (address := _address(value)) is None:
                claims.wrong.add("malformed_address")
            else:
                addresses.add(address)
        elif key == "AS":
            if not re.fullmatch(r"[0-9]{1,10}", value) or not 0 <= int(value) < 2**32:
                claims.wrong.add("malformed_as")
            else:
                claims.doubts |= {"as_with_zeros"} if value.startswith("0") else set()
                numbers.append((int(value), int(value)))
        else:
            _prefix(value, prefixes, claims)
    return addresses, numbers, prefixes, "Hubs" in holder.units


def _prefix(value: str, prefixes: set[Network], claims: Claims) -> None:
    text, slash, length = value.partition("/")
    address = _address(text)
    if address is None:
        claims.wrong.add("malformed_prefix")
    elif not slash:
        claims.doubts.add("prefix_without_length")
        prefixes.add(ip_network(address))
    elif not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > address.max_prefixlen:
        claims.wrong.add("malformed_prefix")
    else:
        network = ip_network(f"{address}/{int(length)}", strict=False)
        if length != str(int(length)):
            claims.doubts.add("length_with_zeros")
        if network.network_address != address:
            claims.wrong.add("host_bits")
        prefixes.add(network)


def held(authority: Authority | None, kind: str) -> Any:
    """Return what an authority's extension says, ``inherit`` (None) resolved by the CA that really signed it."""
    while authority is not None:
        value = getattr(authority.resources, kind)
        if value is not None:
            return value
        authority = authority.parent
    return "absent"


def _covered(value: Any, by: Any, kind: str) -> bool:
    if kind == "numbers":
        return all(any(low <= one[0] and one[1] <= high for low, high in by) for one in value)
    return all(any(one.version == net.version and one.subnet_of(net) for net in by) for one in value)


def _blocks(holder: Holder, claims: Claims) -> tuple[list[tuple[int, int]], set[Network]]:
    found: dict[str, Any] = {}
    for kind in ("blocks", "numbers"):
        value = getattr(holder.resources, kind)
        if value is None:
            value = held(holder.issuer, kind)
            if value == "absent":
                claims.wrong.add("inherit_from_nothing")
        found[kind] = () if value == "absent" else value
        child: Holder | Authority = holder
        for parent in holder.issuer.chain():
            own, above = getattr(child.resources, kind), held(parent, kind)
            if own not in (None, "absent") and above != "absent" and not _covered(own, above, kind):
                claims.wrong.add("over_claim")
            child = parent
    return list(found["numbers"]), set(found["blocks"])


def claims_of(holder: Holder, policy: dict[str, Any]) -> Claims:
    """Return what a certificate names by the policy's sources, put together as it says."""
    claims = Claims()
    order = policy.get("sources", {}).get("order", SOURCES)
    combine = policy.get("sources", {}).get("combine", "first")
    ignored = Claims()
    units = _units(holder, claims if "subject" in order else ignored)
    numbers, prefixes = _blocks(holder, claims if "rfc3779" in order else ignored)
    claims.doubts |= ignored.wrong & {"over_claim"}  # RFC 3779, 2.3 holds for what is not read, too
    alternatives = {ip_address(text) for text in holder.addresses}
    by_source: dict[str, dict[str, Any]] = {
        "subject": {"addresses": units[0], "numbers": units[1], "prefixes": units[2]},
        "subject_alt_name": {"addresses": alternatives}, "dmvpn_ca": {},
        "rfc3779": {"numbers": numbers, "prefixes": prefixes},
    }  # fmt: skip
    for kind in ("addresses", "numbers", "prefixes"):
        named = [by_source[source][kind] for source in order if by_source[source].get(kind)]
        if combine == "agree" and any(set(one) != set(named[0]) for one in named):
            claims.wrong.add("sources_disagree")
        chosen = named[:1] if combine == "first" else named
        setattr(claims, kind, type(getattr(claims, kind))(item for one in chosen for item in one))
    claims.numbers = sorted(set(claims.numbers))
    _role(holder, order, units[3], claims)
    return claims


def _role(holder: Holder, order: list[str], unit: bool, claims: Claims) -> None:
    explicit = holder.is_hub if "dmvpn_ca" in order else None
    by_unit = unit and "subject" in order
    if by_unit and explicit is False:
        claims.doubts.add("contradicting_roles")
    claims.hub = explicit is not False and (explicit is True or by_unit)
