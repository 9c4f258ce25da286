"""Which firewall has the redirect rule."""

import shutil
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.kernel.iptables import backend
from dmvpn_agent.kernel.iptables.settings import Backend

POLICY = {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]}


def _config(**changes: Any) -> Config:
    return config_from({"role": "hub", "policy": POLICY, "bgp": {"as_number": 65000}, **changes})


@pytest.mark.parametrize(
    ("programs", "found"),
    [
        ({"nft", "iptables"}, Backend.NFTABLES),
        ({"nft"}, Backend.NFTABLES),
        ({"iptables"}, Backend.IPTABLES),
        (set[str](), Backend.NFTABLES),
    ],
)
def test_auto_is_what_is_there(programs: set[str], found: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """nftables first; what is configured stays as it is."""
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    assert backend.in_use(Backend.AUTO) is found
    assert _config().firewall is found
    assert backend.in_use(Backend.IPTABLES) is Backend.IPTABLES
    assert backend.in_use(Backend.NFTABLES) is Backend.NFTABLES


def test_the_rule_is_in_one_of_them() -> None:
    """The source filter stays in nftables."""
    one, other = _config(firewall={"backend": "nftables"}), _config(firewall={"backend": "iptables"})
    assert one.table.redirect == other.chain.redirect == one.redirect
    assert one.chain.redirect is other.table.redirect is None
    assert other.table.source_filter
    assert other.chain.versions == (4,)


def test_a_wildcard_of_iptables_is_no_name() -> None:
    """To nftables it is one."""
    names = {"nhrp": {"interfaces": {"gre+": "dmvpn"}}}
    assert _config(firewall={"backend": "nftables"}, **names)
    with pytest.raises(ConfigError, match=r"nhrp.interfaces has gre\+"):
        _config(firewall={"backend": "iptables"}, **names)
