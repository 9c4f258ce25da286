"""Random ``[policy]`` tables, and TOML for them."""

from random import Random
from typing import Any

from campaign.pki import Holder


def random_policy(random: Random, role: str, holders: list[Holder], interfaces: tuple[str, ...]) -> dict[str, Any]:
    """Return a policy: the usual one, with a few keys changed in some table."""
    policy: dict[str, Any] = {"tunnel_networks": ["10.255.0.0/24"]}
    if role == "hub":
        policy["allowed_networks"] = ["192.168.0.0/16"]
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        key, value = _rule(random)
        tables = [policy, policy, policy]
        for kind in ("hub", "spoke", "shortcut"):
            tables.append(policy.setdefault(kind, {}))
        for interface in interfaces:
            tables.append(policy.setdefault("interfaces", {}).setdefault(interface, {}))
        random.choice(tables)[key] = value
    if random.random() < 0.08:
        policy.setdefault(random.choice(["hub", "spoke", "shortcut"]), {})["transit"] = random.random() < 0.5
    if role == "spoke" and random.random() < 0.4:
        policy.setdefault("hub", {})["require_hub_role"] = random.random() < 0.7
    if random.random() < 0.15:
        policy["require_crl"] = True
    if random.random() < 0.15:
        policy["confirm_certificates"] = False
    if random.random() < 0.15:
        policy["sources"] = {"combine": random.choice(["first", "union", "agree"])}
        if random.random() < 0.5:
            order = ["subject", "subject_alt_name", "rfc3779", "dmvpn_ca"]
            random.shuffle(order)
            policy["sources"]["order"] = order[: random.randrange(2, 5)]
    if random.random() < 0.3:
        policy["peer"] = [_row(random, holders) for _ in range(random.choice([1, 1, 2]))]
    if random.random() < 0.12:
        holder = random.choice(holders)
        who = random.choice([{"identity": f"*CN={holder.common_name}*"}, {"serial": f"{abs(holder.serial):x}"}])
        policy["maintenance"] = [{**who, "action": random.choice(["deny", "quarantine"])}]
    return policy


def _rule(random: Random) -> tuple[str, Any]:
    return random.choice(
        [
            ("forbidden_networks", ["192.168.100.0/24"]), ("forbidden_networks", ["192.168.2.128/25"]),
            ("allow_default_route", True), ("allow_default_route", True), ("max_prefix_length", 24),
            ("max_prefix_length", 26), ("max_prefix_length", 16), ("max_protocol_addresses", 1), ("max_prefixes", 1),
            ("max_prefixes", 0), ("as_numbers", ["64512-64516"]), ("as_numbers", ["64513", "65000"]),
            ("allow_ibgp", True), ("issuers", ["*CN=DMVPN CA*"]), ("issuers", ["*CN=Site CA*", "*CN=Region CA*"]),
            ("subjects", ["*CN=spoke*"]), ("subjects", ["*CN=spoke1*"]), ("allowed", False),
            ("on_conflict", "take_over"), ("on_conflict", "take_over"),
            ("tunnel_networks", ["10.255.0.0/25"]),
            ("allowed_networks", ["192.168.0.0/22", "172.16.0.0/12"]), ("allowed_networks", ["0.0.0.0/0"]),
            ("max_prefix_length_ipv6", 64),
        ]
    )  # fmt: skip


def _row(random: Random, holders: list[Holder]) -> dict[str, Any]:
    number = random.randrange(50, 54)
    row: dict[str, Any] = {
        "identity": random.choice(["*@example.net", "p50@example.net", "p5?@example.net", "spoke*"]),
        "protocol_addresses": [f"10.255.0.{number}"], "as_number": 64512 + number,
    }  # fmt: skip
    if random.random() < 0.7:
        row["prefixes"] = [f"192.168.{number}.0/24"]
    if random.random() < 0.1:
        row["role"] = "hub"
    if random.random() < 0.2:
        holder = random.choice(holders)
        row["identity"] = random.choice([f"*CN={holder.common_name}*", f"{holder.common_name}.example"])
        row["override"] = random.random() < 0.7
    return row


def toml(table: dict[str, Any], path: str) -> str:
    """Return a table as TOML."""
    lines, below = [], []
    for key, value in table.items():
        name = f"{path}.{key}"
        if isinstance(value, dict):
            below.append(f"[{name}]\n{toml(value, name)}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            below += [f"[[{name}]]\n{toml(row, name)}" for row in value]
        else:
            lines.append(f"{key} = {_value(value)}\n")
    return "".join(lines) + "".join(below)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
