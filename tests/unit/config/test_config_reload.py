"""A changed configuration while a program runs: what is applied, and what needs a restart."""

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.reload import AGENT, BRIDGE, KEYS, reloaded, restart_needed
from dmvpn_agent.config.settings import Config

POLICY = {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]}
EXAMPLE = Path(__file__).parents[3] / "deploy" / "agent.example.toml"


def _config(**changes: Any) -> Config:
    return config_from({"role": "hub", "policy": POLICY, "bgp": {"as_number": 65000}, **changes})


NOW = _config()
AT_ONCE: list[dict[str, Any]] = [
    {},
    {"policy": {**POLICY, "max_prefixes": 3}},
    {"policy": {**POLICY, "ca_certificates": ["/elsewhere"], "crls": ["/elsewhere"]}},
    {"log": {"level": "debug"}},
    {"frr": {"linger_seconds": 60}},
    {"bgp": {"as_number": 65000, "peer_group": "branches", "maximum_prefixes_restart_minutes": 1}},
    {"redirect": {"nflog_group": 2}},
    {"multicast": {"enabled": True}},
    {"firewall": {"backend": "iptables"}},
    {"ike": {"end_denied": False}},
    {"bridge": {"init_limit_half_open": 5}},
]
LATER: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({"state_directory": "/elsewhere"}, "state_directory", (AGENT, BRIDGE)),
    ({"control_socket": "/elsewhere"}, "control_socket", (AGENT,)),
    ({"nhrp": {"event_socket": "/elsewhere"}}, "nhrp.event_socket", (AGENT,)),
    ({"nhrp": {"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}}}, "nhrp.interfaces", (AGENT, BRIDGE)),
    ({"nhrp": {"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn"}}}, "nhrp.interfaces", (AGENT,)),
    ({"ike": {"vici_socket": "/elsewhere"}}, "ike.vici_socket", (AGENT, BRIDGE)),
    ({"ike": {"load_crls": False}}, "ike.load_crls", (AGENT,)),
    ({"policy": {**POLICY, "ca_certificates": ["/elsewhere"]}}, "policy.ca_certificates", (BRIDGE,)),
    ({"frr": {"vtysh": "/elsewhere"}}, "frr.vtysh", (AGENT,)),
    ({"bgp": {"as_number": 65001}}, "bgp.as_number", (AGENT,)),
    ({"bgp": {"as_number": 65000, "transport": "vty"}}, "bgp.transport", (AGENT,)),
    ({"bgp": {"as_number": 65000, "vrf": "red"}}, "bgp.vrf", (AGENT,)),
    ({"bgp": {"enabled": False}}, "bgp.enabled", (AGENT,)),
    ({"redirect": {"enabled": False}}, "redirect.enabled", (AGENT,)),
    ({"metrics": {"listen": ""}}, "metrics.listen", (AGENT,)),
    ({"bridge": {"listen": "/elsewhere"}}, "bridge.listen", (AGENT, BRIDGE)),
    ({"bridge": {"metrics_listen": ""}}, "bridge.metrics_listen", (BRIDGE,)),
]


def _names(changes: list[dict[str, Any]]) -> list[str]:
    return [", ".join(f"{table}: {value}" for table, value in change.items()) or "nothing" for change in changes]


@pytest.mark.parametrize("change", AT_ONCE, ids=_names(AT_ONCE))
def test_the_agent_applies_a_change_that_needs_no_restart(change: dict[str, Any]) -> None:
    """The configuration in force is the wanted one, and no key is named."""
    wanted = _config(**change)
    assert restart_needed(AGENT, NOW, wanted) == ()
    assert reloaded(NOW, wanted) == wanted


@pytest.mark.parametrize(
    ("change", "key", "programs"), LATER, ids=_names([change for change, _, _ in LATER])
)  # fmt: skip
def test_a_key_that_needs_a_restart_is_named(change: dict[str, Any], key: str, programs: tuple[str, ...]) -> None:
    """By each program that reads it at start only."""
    wanted = _config(**change)
    assert tuple(program for program in (AGENT, BRIDGE) if restart_needed(program, NOW, wanted)) == programs
    assert {key} == {name for program in programs for name in restart_needed(program, NOW, wanted)}


def test_every_changed_key_that_needs_a_restart_is_named_once() -> None:
    """``nhrp.interfaces`` sets two fields."""
    wanted = _config(control_socket="/elsewhere", nhrp={"interfaces": {"gre2": "dmvpn2"}})
    assert restart_needed(AGENT, NOW, wanted) == ("control_socket", "nhrp.interfaces")


def test_bgp_that_was_switched_off_runs_unchanged_until_the_restart() -> None:
    """The wanted configuration has no values for it."""
    assert reloaded(NOW, _config(bgp={"enabled": False})).bgp == NOW.bgp


def test_bgp_that_was_switched_on_starts_with_the_restart() -> None:
    """The agent made no reconciler."""
    off = _config(bgp={"enabled": False})
    assert reloaded(off, NOW).bgp is None
    assert restart_needed(AGENT, off, NOW) == ("bgp.enabled",)


def test_a_changed_as_number_waits_and_the_rest_of_bgp_does_not() -> None:
    """FRR's BGP instance has the old AS number."""
    bgp = reloaded(NOW, _config(bgp={"as_number": 65001, "peer_group": "branches"})).bgp
    assert bgp is not None
    assert (bgp.as_number, bgp.peer_group) == (65000, "branches")


def test_a_new_interface_accepts_no_peer_before_the_restart() -> None:
    """The agent does not watch it yet; the redirect rule keeps its interfaces."""
    config = reloaded(NOW, _config(nhrp={"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}}))
    assert set(config.policy.rules) == {"gre1"}
    assert config.redirect is not None
    assert config.redirect.interfaces == ("gre1",)


def test_a_removed_interface_accepts_no_peer_from_now_on() -> None:
    """Without waiting for the restart."""
    two = _config(nhrp={"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}})
    assert set(reloaded(two, NOW).policy.rules) == {"gre1"}


def _keys(table: dict[str, Any], path: str = "") -> set[str]:
    return {
        key
        for name, value in table.items()
        for key in (_keys(value, f"{path}{name}.") if isinstance(value, dict) else {path + name})
    }


def test_every_key_of_the_example_is_in_the_table() -> None:
    """A new key without a row would change nothing at a reload, and no log line would name it."""
    names = {key.name for key in KEYS}
    tables = tuple(f"{name}." for name in names)
    keys = _keys(tomllib.loads(EXAMPLE.read_text())) - {"nhrp.interfaces.gre1"}
    assert {key for key in keys if key not in names and not key.startswith(tables)} == set()


#: The fields that follow from another key (the state directory, ``ike.load_crls``, ``nhrp.interfaces``) or from none.
DERIVED = {
    "trust_files.fetched",
    "trust_files.kept",
    "trust_files.charon_crl_limit",
    "redirect.interfaces",
    "redirect.snaplen",
}


def test_every_field_of_the_configuration_is_in_the_table() -> None:
    """A field without a row would keep its old value without a word."""
    rows = {key.field for key in KEYS}
    for field in fields(NOW):
        value = getattr(NOW, field.name)
        if field.name not in rows:
            assert is_dataclass(value), field.name
            assert {f"{field.name}.{one.name}" for one in fields(value)} <= rows | DERIVED
