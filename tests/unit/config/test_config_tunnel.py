"""``[tunnel.NAME]``."""

from ipaddress import IPv4Address, ip_interface
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError

MANAGED = {"manage": True, "local": "192.0.2.1", "key": 42, "addresses": ["10.255.0.1/32"]}


def _config(tunnel: dict[str, Any], **tables: Any) -> Config:
    policy = {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]}
    raw = {"role": "hub", "policy": policy, "bgp": {"as_number": 65000}, "tunnel": tunnel}
    return config_from(raw | tables)


def test_nothing_is_configured_by_default() -> None:
    """After an upgrade the agent does not look at the interface."""
    assert not _config({}).links["gre1"].wants_anything


def test_what_a_managed_interface_has() -> None:
    """The rest has defaults; a value of "" is left as it is."""
    found = _config({"gre1": MANAGED | {"rp_filter": ""}}).links["gre1"]
    assert (found.manages, found.local, found.key) == (True, IPv4Address("192.0.2.1"), 42)
    assert found.addresses == (ip_interface("10.255.0.1/32"),)
    assert (found.mtu, found.up, found.forwards, found.rp_filter, found.ttl) == (1400, True, True, None, None)


def test_an_uplink_gives_the_local_address() -> None:
    """Then the table has none."""
    without = {name: value for name, value in MANAGED.items() if name != "local"}
    assert _config({"gre1": without}, uplink={"link": [{"name": "eth0"}]}).links["gre1"].local is None
    with pytest.raises(ConfigError, match="local or device is missing"):
        _config({"gre1": without})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"addresses": ["10.255.0.1/24"]}, "write 10.255.0.1/32"),
        ({"addresses": ["10.255.0.1/32", "10.255.0.1/32"]}, "each once"),
        ({"addresses": ["fe80::1/128"]}, "no protocol address"),
        ({"addresses": [7]}, "a list of addresses"),
        ({"addresses": []}, "addresses is missing"),
        ({"local": "2001:db8::1"}, "nhrpd has IPv4 NBMA addresses only"),
        ({"local": "0.0.0.0"}, "no address of a node"),
        ({"local": "eth0"}, "an IPv4 address"),
        ({"key": -1}, "a whole number from 0"),
        ({"key": 2**32}, "a whole number from 0"),
        ({"mtu": 500}, "a whole number from 576"),
        ({"mtu": 1279, "addresses": ["2001:db8::1/128"]}, "IPv6 needs 1280"),
        ({"rp_filter": 3}, "a whole number from 0 to 2"),
        ({"vrf": "a b"}, "the name of an interface"),
        ({"device": "../../x"}, "the name of an interface"),
        ({"addreses": []}, "did you mean tunnel.gre1.addresses"),
    ],
)
def test_what_is_refused(change: dict[str, Any], words: str) -> None:
    """The message has the key and what is allowed."""
    with pytest.raises(ConfigError, match=words) as raised:
        _config({"gre1": MANAGED | change})
    assert "tunnel.gre1" in str(raised.value)


def test_an_interface_that_is_not_nhrps_is_refused() -> None:
    """By name."""
    with pytest.raises(ConfigError, match=r"tunnel\.gre7 is unknown"):
        _config({"gre7": MANAGED})
