"""The configuration of the multicast rule."""

from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule

POLICY = {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]}


def _config(**changes: Any) -> Config:
    return config_from({"role": "hub", "policy": POLICY, "bgp": {"as_number": 65000}, **changes})


def test_it_is_off_by_default() -> None:
    """Nothing of the node's is dropped unless the operator wants it."""
    assert _config().multicast is None
    assert _config().table.multicast is None


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_it_is_for_all_tunnels(backend: str) -> None:
    """In the firewall that has the redirect rule."""
    config = _config(
        multicast={"enabled": True},
        firewall={"backend": backend},
        nhrp={"interfaces": {"gre1": "dmvpn", "gre2": "dmvpn2"}},
    )
    both = config.table.multicast, config.chain.multicast
    rule = MulticastRule(("gre1", "gre2"), 2)
    assert both == ((rule, None) if backend == "nftables" else (None, rule))


def test_both_rules_cannot_have_one_group() -> None:
    """nhrpd could open it only once."""
    with pytest.raises(ConfigError, match=r"multicast.nflog_group and redirect.nflog_group are both 1"):
        _config(multicast={"enabled": True, "nflog_group": 1})
    assert _config(multicast={"enabled": True, "nflog_group": 1}, redirect={"enabled": False}).multicast
