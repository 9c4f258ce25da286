"""``[uplink]`` in the configuration file."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.kernel.uplink.settings import AUTO, ProbeProtocol, Target, Uplink, UplinkSettings

POLICY = {"tunnel_networks": ["10.255.0.0/24"]}
REQUIRED = {"role": "spoke", "policy": POLICY}


def uplink(*links: dict[str, Any], **keys: Any) -> UplinkSettings | None:
    return config_from({**REQUIRED, "uplink": {"link": list(links), **keys}}).uplink


def test_without_a_link_the_agent_leaves_the_tunnels_address() -> None:
    """Also with other keys."""
    assert uplink(fall=7) is None


def test_a_link_has_targets_of_three_kinds() -> None:
    """A ping, a connection, a datagram."""
    targets = ["192.0.2.1", "tcp:192.0.2.1:443", "udp:192.0.2.2:33434"]
    host, other = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
    settings = uplink({"name": "eth0", "gateway": "198.51.100.1", "targets": targets})
    assert settings is not None
    assert settings.tunnels == ("gre1",)
    assert settings.uplinks == (
        Uplink(
            "eth0",
            IPv4Address("198.51.100.1"),
            (Target(host), Target(host, ProbeProtocol.TCP, 443), Target(other, ProbeProtocol.UDP, 33434)),
        ),
    )
    assert [str(target) for target in settings.uplinks[0].targets] == targets


def test_the_gateway_may_be_that_of_the_default_route() -> None:
    """``auto``; without the key the agent makes no routes, as before."""
    settings = uplink({"name": "eth0", "gateway": "auto"}, {"name": "eth1"})
    assert settings is not None
    assert [one.gateway for one in settings.uplinks] == [AUTO, None]


@pytest.mark.parametrize(
    "target", ["hub.example.net", "tcp:192.0.2.1", "icmp:192.0.2.1:1", "udp:192.0.2.1:0", "", "::1"]
)
def test_other_targets_are_refused(target: str) -> None:
    """The message shows the forms."""
    with pytest.raises(ConfigError, match=r'targets is .*"tcp:192\.0\.2\.1:443"'):
        uplink({"name": "eth0", "targets": [target]})


@pytest.mark.parametrize(
    ("links", "keys", "message"),
    [
        ([{"name": "eth0"}, {"name": "eth0"}], {}, "eth0 has two rows"),
        ([{"name": "gre1"}], {}, "gre1 is a tunnel interface"),
        ([{"name": "eth0"}], {"tunnels": ["gre9"]}, "gre9; expected some of nhrp.interfaces: gre1"),
        ([{}], {}, "name is missing"),
        ([{"name": "eth0", "gateway": "2001:db8::1"}], {}, 'expected an IPv4 address, or "auto"'),
        ([{"name": "eth0", "gateway": "dhcp"}], {}, 'expected an IPv4 address, or "auto"'),
        ([{"name": "eth0"}, {"name": "eth1"}], {"table": 253}, "uplink.table: 253 is a table of the system"),
    ],
)
def test_mistakes_are_named(links: list[dict[str, Any]], keys: dict[str, Any], message: str) -> None:
    """With what is expected."""
    with pytest.raises(ConfigError, match=message):
        uplink(*links, **keys)


@pytest.mark.parametrize("key", ["local", "device"])
def test_a_tunnels_local_address_has_one_writer(key: str) -> None:
    """The error names both tables."""
    value = "203.0.113.11" if key == "local" else "eth0"
    raw = {**REQUIRED, "uplink": {"link": [{"name": "eth0"}]}, "tunnel": {"gre1": {key: value}}}
    with pytest.raises(
        ConfigError, match=f"tunnel.gre1.{key} sets the local address of gre1, as uplink.tunnels does"
    ):
        config_from(raw)
