"""A changed configuration while the agent runs: what is put in force, and what waits for a restart."""

from typing import Any

import pytest

from dmvpn_agent.config.file import Config, from_toml
from dmvpn_agent.config.reload import reloaded

POLICY = {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]}


def _config(**changes: Any) -> Config:
    return from_toml({"role": "hub", "policy": POLICY, "bgp": {"as_number": 65000}, **changes})


NOW = _config()
AT_ONCE: list[dict[str, Any]] = [
    {},
    {"policy": {**POLICY, "max_prefixes": 3}},
    {"log": {"level": "debug"}},
    {"frr": {"linger_seconds": 60}},
    {"bgp": {"as_number": 65000, "peer_group": "branches"}},
    {"redirect": {"nflog_group": 2}},
    {"ike": {"end_denied": False}},
]
LATER: list[dict[str, Any]] = [
    {"state_directory": "/elsewhere"},
    {"nhrp": {"event_socket": "/elsewhere"}},
    {"nhrp": {"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}}},
    {"ike": {"vici_socket": "/elsewhere"}},
    {"frr": {"vtysh": "/elsewhere"}},
    {"bgp": {"as_number": 65001}},
    {"bgp": {"enabled": False}},
    {"redirect": {"enabled": False}},
    {"metrics": {"listen": ""}},
]


def _names(changes: list[dict[str, Any]]) -> list[str]:
    return [", ".join(f"{table}: {value}" for table, value in change.items()) or "nothing" for change in changes]


@pytest.mark.parametrize("change", AT_ONCE, ids=_names(AT_ONCE))
def test_what_needs_no_restart_is_in_force_at_once(change: dict[str, Any]) -> None:
    """Wholly, and no restart is asked for."""
    wanted = _config(**change)
    new = reloaded(NOW, wanted)
    assert not new.restart_needed
    assert (new.config, new.bgp) == (wanted, wanted.bgp)


@pytest.mark.parametrize("change", LATER, ids=_names(LATER))
def test_what_needs_a_restart_is_said(change: dict[str, Any]) -> None:
    """Though the rest is in force."""
    assert reloaded(NOW, _config(**change)).restart_needed


def test_a_part_that_is_switched_off_goes_on_until_the_restart() -> None:
    """Without anything in its configuration being changed: there is none."""
    assert reloaded(NOW, _config(bgp={"enabled": False})).bgp is None


def test_another_as_number_waits_and_the_rest_of_bgp_does_not() -> None:
    """The instance in FRR is the old one's."""
    bgp = reloaded(NOW, _config(bgp={"as_number": 65001, "peer_group": "branches"})).bgp
    assert bgp is not None
    assert (bgp.as_number, bgp.peer_group) == (65000, "branches")


def test_an_interface_that_came_binds_nobody_before_the_restart() -> None:
    """Nobody watches it yet; the redirect rule stays on those there are."""
    config = reloaded(NOW, _config(nhrp={"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}})).config
    assert set(config.policy.rules) == {"gre1"}
    assert config.redirect is not None
    assert config.redirect.interfaces == ("gre1",)


def test_an_interface_that_went_binds_nobody_any_more() -> None:
    """At once: the operator does not want it."""
    two = _config(nhrp={"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}})
    assert set(reloaded(two, NOW).config.policy.rules) == {"gre1"}
