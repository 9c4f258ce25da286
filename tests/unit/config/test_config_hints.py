"""The messages of an invalid configuration name a correction."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.table import ConfigError

DATA = Path(__file__).parents[2] / "data"
HUB: dict[str, Any] = {
    "role": "hub",
    "bgp": {"as_number": 65000},
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
}
HINTS = [
    ("as_numbers", ["64512-"], "'64512-' has no end: write 64512-4294967294"),
    ("as_numbers", ["-64512"], "'-64512' is neither a number nor a range"),
    ("as_numbers", ["٦٤٥١٢"], "is neither a number"),
    ("as_numbers", [True], "is neither a number"),
    ("forbidden_networks", ["192.168.7.0"], "192.168.7.0 has no prefix length: write 192.168.7.0/32 for"),
    ("forbidden_networks", ["2001:db8::"], "2001:db8:: has no prefix length: write 2001:db8::/128 for"),
    ("forbidden_networks", ["10.1.2.3/16"], "10.1.2.3/16 has host bits: write 10.1.0.0/16"),
    ("forbidden_networks", ["::ffff:10.1.0.0/112"], "in IPv4 notation"),
    ("forbidden_networks", ["fe80::%gre1/64"], "and no interface"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "hint"), HINTS)
def test_an_invalid_value_comes_with_a_correction(key: str, value: Any, hint: str) -> None:
    """After the key, the value and the allowed values."""
    with pytest.raises(ConfigError) as refused:
        config_from(HUB | {"policy": {**HUB["policy"], key: value}})
    assert str(refused.value).startswith(f"policy.{key} is {value!r}; expected a list of ")
    assert hint in str(refused.value).split(" (", 1)[1]


def test_operators_see_no_deprecation_warnings() -> None:
    """cryptography warns about serial number 0, which every CA of dmvpn-ca has."""
    folder = DATA / "cases" / "serial-zero"
    arguments = ("explain", str(folder / "ca.pem"), "--config", str(folder / "hub.toml"))
    command = [
        sys.executable,
        "-c",
        "import sys; from dmvpn_agent.cli.main import main; sys.exit(main())",
        *arguments,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "serial       0\n" in run.stdout
    assert run.stderr == ""


@pytest.mark.parametrize("name", ["gre@eth01", "gre1.100", "a+b=c~d,e%f", "x"])
def test_the_kernels_interface_names_are_valid(name: str) -> None:
    """Except characters that are special to nft or vtysh."""
    assert config_from(HUB | {"nhrp": {"interfaces": {name: "dmvpn"}}}).interfaces == (name,)


def test_every_unknown_key_is_named_once_with_a_suggestion() -> None:
    """A misspelling, a key of another table, and a key without a similar one."""
    policy = {**HUB["policy"], "max_prefix": 3, "require_crls": True, "xyz": 1, "hub": {"transits": False}}
    with pytest.raises(ConfigError) as refused:
        config_from(HUB | {"policy": policy, "linger_seconds": 5})
    text = str(refused.value)
    assert "linger_seconds is unknown; did you mean frr.linger_seconds?" in text
    assert "policy.max_prefix is unknown; did you mean policy.max_prefixes?" in text
    assert "policy.require_crls is unknown; did you mean policy.require_crl?" in text
    assert "policy.hub.transits is unknown; did you mean policy.hub.transit?" in text
    assert "policy.xyz is unknown; allowed in [policy]: " in text
    assert text.count("is unknown") == 5
    allowed = text.split("allowed in [policy]: ")[1].split("; ", maxsplit=1)[0].split(", ")
    assert len(allowed) == len(set(allowed))
