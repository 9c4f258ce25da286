"""``agent.example.toml`` is the reference of the configuration."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.file import load
from dmvpn_agent.config.table import ConfigError

EXAMPLE = Path(__file__).parents[3] / "deploy" / "agent.example.toml"
REQUIRED: dict[str, Any] = {
    "role": "hub",
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
    "bgp": {"as_number": 65000},
}


def _example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE.read_text())


def _in(raw: dict[str, Any], table: str) -> dict[str, Any]:
    for name in table.split(".") if table else ():
        raw = raw[name]
    return raw


def _allowed(table: str) -> set[str]:
    """Return the keys that the parser knows in a table, from its message about an unknown one."""
    raw = _example()
    _in(raw, table)["no-such-key"] = 1
    with pytest.raises(ConfigError, match="no-such-key is unknown") as raised:
        config_from(raw)
    return set(re.split(", ", str(raised.value).split(": ")[-1]))


def test_every_value_shown_is_the_default() -> None:
    """The example equals a file with only the required keys."""
    assert load(EXAMPLE) == config_from(REQUIRED)


NESTED = ["policy.sources", "tunnel.gre1"]
TABLES = ["", *(key for key, value in _example().items() if isinstance(value, dict) and key != "tunnel"), *NESTED]


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_shown(table: str) -> None:
    """The example has every key that the parser knows."""
    raw = _example()
    assert _allowed(table) == set(_in(raw, table))


def test_every_key_has_a_comment() -> None:
    """Each key is explained on its line."""
    keys = [line for line in EXAMPLE.read_text().splitlines() if re.match(r"\w+ = ", line)]
    assert [line for line in keys if " # " not in line] == []
