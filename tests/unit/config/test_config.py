"""The configuration file: defaults, and the message for each mistake."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.bgp.settings import MaximumPrefix
from dmvpn_agent.config.file import load
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.view.settings import ExpectedPeer, PeersSettings
from dmvpn_agent.x509.certificate import Role

HUB: dict[str, Any] = {
    "role": "hub",
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
    "bgp": {"as_number": 65000},
}
SPOKE: dict[str, Any] = {"role": "spoke", "policy": {"tunnel_networks": ["10.255.0.0/24"]}}


def _with(path: str, value: object) -> dict[str, Any]:
    """Return the hub's document with one key changed, or removed if the value is ``None``."""
    table, _, key = path.rpartition(".")
    raw = {name: dict(item) if isinstance(item, dict) else item for name, item in HUB.items()}
    target = raw.setdefault(table, {}) if table else raw
    target[key] = value
    if value is None:
        del target[key]
    return raw


def test_a_hub_manages_bgp_and_the_redirect_rule() -> None:
    """The required keys are enough; the others have defaults."""
    config = config_from(HUB)
    assert config.role is Role.HUB
    assert config.bgp is not None
    assert config.redirect is not None
    rules = config.policy.rules["gre1"][PeerKind.SPOKE]
    assert rules.needs_as_number
    assert rules.as_ranges == ((64512, 65534), (4200000000, 4294967294))
    assert config.metrics == Endpoint("127.0.0.1", 19342)


def test_a_spoke_manages_neither_bgp_nor_nftables() -> None:
    """A spoke only checks certificates: it allows any prefix and requires no AS number."""
    config = config_from(SPOKE)
    assert (config.bgp, config.redirect) == (None, None)
    rules = config.policy.rules["gre1"][PeerKind.SHORTCUT]
    assert not rules.needs_as_number
    assert ip_network("0.0.0.0/0") in rules.allowed_networks


INVALID = [
    # key, value, what is allowed
    ("role", "router", "one of hub, spoke"),
    ("role", ["hub"], "one of hub, spoke"),
    ("state_directory", "var", "an absolute path"),
    ("control_socket", "", "an absolute path"),
    ("control_socket", 5, "an absolute path"),
    ("log.level", "loud", "one of debug, info, warning, error"),
    ("log.format", "xml", "one of json, console"),
    (
        "nhrp.interfaces",
        {"an interface too long": "dmvpn"},
        "the tunnel interfaces, each with its profile, as { gre1",
    ),
    ("nhrp.interfaces", {"gre1; reboot": "dmvpn"}, "the tunnel interfaces, each with its profile"),
    ("nhrp.interfaces", {'gre"': "dmvpn"}, "the tunnel interfaces, each with its profile"),
    ("nhrp.interfaces", {"gre1": "a b"}, "the tunnel interfaces, each with its profile"),
    ("nhrp.interfaces", {"gre1": ""}, "the tunnel interfaces, each with its profile"),
    ("nhrp.interfaces", ["gre1"], "the tunnel interfaces, each with its profile"),
    ("nhrp.interfaces", {}, "the tunnel interfaces, each with its profile"),
    ("policy.tunnel_networks", [], 'a list of networks without host bits, as ["10.255.0.0/24"]'),
    ("policy.tunnel_networks", "10.255.0.0/24", "a list of networks without host bits"),
    ("policy.tunnel_networks", ["10.255.0.1/24"], "a list of networks without host bits"),
    ("policy.tunnel_networks", [10], "a list of networks without host bits"),
    ("policy.max_prefix_length", 33, "a whole number from 0 to 32"),
    ("policy.max_prefix_length", 24.0, "a whole number from 0 to 32"),
    ("policy.max_prefix_length", True, "a whole number from 0 to 32"),
    ("policy.as_numbers", [], 'a list of AS numbers or ranges, as ["64512-65534"]'),
    ("policy.as_numbers", ["65534-64512"], "a list of AS numbers or ranges"),
    ("policy.as_numbers", ["0-5"], "a list of AS numbers or ranges"),
    ("policy.as_numbers", ["all"], "a list of AS numbers or ranges"),
    ("nhrp.interfaces", {"..": "dmvpn"}, "the tunnel interfaces, each with its profile"),
    ("frr.vtysh", "", "a text"),
    ("frr.coalesce_seconds", -1, "seconds, from 0 to 60"),
    ("frr.coalesce_seconds", float("nan"), "seconds, from 0 to 60"),
    ("frr.resync_seconds", 0, "seconds, from 1 to 3600"),
    ("frr.linger_seconds", "10 min", "seconds, from 0 to 86400"),
    ("bgp.enabled", "yes", "true or false"),
    ("bgp.as_number", 0, "a whole number from 1 to 4294967294"),
    ("bgp.peer_group", "two words", "a name of letters, digits"),
    ("bgp.peer_group", "1st", "a name of letters, digits"),
    ("redirect.nflog_group", 65536, "a whole number from 1 to 65535"),
    ("redirect.source_prefix_length", 0, "a whole number from 1 to 32"),
    ("source_filter.mark_mask", 0xFF0F, "8 or more adjacent bits of the 32 of a packet mark, as 0xffff0000"),
    ("source_filter.mark_mask", 0x7F, "8 or more adjacent bits of the 32 of a packet mark, as 0xffff0000"),
    ("source_filter.mode", "on", "one of off, count, enforce"),
    ("redirect.rate_per_minute", 0, "a whole number from 1 to 60000"),
    ("metrics.listen", "localhost:19342", '"address:port" with an IP address, or "" for none'),
    ("metrics.listen", "127.0.0.1", '"address:port"'),
    ("metrics.listen", "127.0.0.1:0", '"address:port"'),
    ("metrics.listen", 19342, '"address:port"'),
    ("bgp.maximum_prefixes", -1, "a whole number from 0"),
    ("bgp.maximum_prefixes_restart_minutes", 65536, "a whole number from 0 to 65535"),
    ("bgp.hub_weights", {"hub1": 200}, "weights from 1 to 65535 by address"),
    ("bgp.hub_weights", {"10.255.0.1": 0}, "weights from 1 to 65535 by address"),
    ("bgp.hub_weights", {"::1": 1, "0::1": 2}, "weights from 1 to 65535 by address"),
    ("bgp.hub_weights", ["10.255.0.1"], "weights from 1 to 65535 by address"),
]


@pytest.mark.parametrize(
    ("key", "value", "allowed"), INVALID, ids=[f"{key}={value!r}"[:60] for key, value, _ in INVALID]
)
def test_an_invalid_value_is_named_with_its_key_and_the_allowed_values(key: str, value: object, allowed: str) -> None:
    """The message is enough to correct the line."""
    with pytest.raises(ConfigError) as caught:
        config_from(_with(key, value))
    assert str(caught.value).startswith(f"{key} is {value!r}; expected {allowed}")


@pytest.mark.parametrize("key", ["role", "policy.tunnel_networks", "policy.allowed_networks", "bgp.as_number"])
def test_a_key_without_a_default_is_required(key: str) -> None:
    """The message names the key and the allowed values."""
    with pytest.raises(ConfigError, match=f"^{key} is missing; expected "):
        config_from(_with(key, None))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("policy.alowed_networks", r"policy\.alowed_networks is unknown; did you mean policy\.allowed_networks\?"),
        ("polcy", r"polcy is unknown; did you mean policy\?"),
        ("bridge.listn", r"bridge\.listn is unknown; did you mean bridge\.listen\?"),
        ("nhrp.interface", r"nhrp\.interface is unknown; did you mean nhrp\.interfaces\?"),
        (
            "policy.require_hub_role",
            r"role is unknown; did you mean policy\.hub\.require_hub_role",
        ),
    ],
)
def test_an_unknown_key_is_an_error(key: str, message: str) -> None:
    """A typing mistake must not disable a rule."""
    with pytest.raises(ConfigError, match=message):
        config_from(_with(key, "x"))


def test_each_interface_has_a_profile() -> None:
    """Each has rules and the redirect rule; two may share a profile."""
    config = config_from(_with("nhrp.interfaces", {"gre1": "dmvpn", "gre2": "other", "gre3": "other"}))
    assert config.interfaces == tuple(config.policy.rules) == ("gre1", "gre2", "gre3")
    assert config.profiles == {"dmvpn", "other"}
    assert config.redirect is not None
    assert config.redirect.interfaces == config.interfaces


def test_a_value_where_a_table_belongs_is_an_error() -> None:
    """The message shows the table to write."""
    with pytest.raises(ConfigError, match=r"policy is 1; expected a table: \[policy\]"):
        config_from({"role": "hub", "policy": 1})


def test_bridge_and_charon_need_two_sockets() -> None:
    """Only one program can listen on a path."""
    raw = _with("bridge.listen", "/run/x.vici") | {"ike": {"vici_socket": "/run/x.vici"}}
    with pytest.raises(ConfigError, match=r"bridge\.listen and ike\.vici_socket are both /run/x\.vici"):
        config_from(raw)


def test_metrics_can_be_turned_off() -> None:
    """By an empty endpoint."""
    assert config_from(_with("metrics.listen", "")).metrics is None


def test_an_ipv6_endpoint_is_written_in_brackets() -> None:
    """As in URLs; it is printed the same way."""
    endpoint = config_from(_with("metrics.listen", "[::1]:19342")).metrics
    assert endpoint == Endpoint("::1", 19342)
    assert str(endpoint) == "[::1]:19342"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; `dmvpn-agent setup` makes one, -c names another"),
        (b"role = hub", "not TOML: "),
        (b"role = '\xff'", "not TOML: "),
        (b"#" * (2 << 20), "longer than 1048576 bytes"),
        (b"role = 'hub'", "bgp.as_number is missing"),
    ],
)
def test_an_invalid_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """Every error begins with the file."""
    file = tmp_path / "agent.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {message}")


def test_a_prefix_limit_of_zero_is_no_limit() -> None:
    """The default is 1,000, and none for peers that announce the prefixes of others."""
    bgp = config_from(HUB).bgp
    assert bgp is not None
    assert (bgp.maximum_prefix, bgp.transit_maximum_prefix) == (MaximumPrefix(1000, 15), None)
    bgp = config_from(HUB | {"bgp": {"as_number": 65000, "maximum_prefixes": 0, "transit_maximum_prefixes": 7}}).bgp
    assert bgp is not None
    assert (bgp.maximum_prefix, bgp.transit_maximum_prefix) == (None, MaximumPrefix(7, 15))


def test_a_prefix_limit_below_policy_max_prefixes_is_refused() -> None:
    """A peer that announces what its certificate allows would lose its session."""
    with pytest.raises(ConfigError, match=r"bgp\.maximum_prefixes: is 199: .* 200 or more, or to 0"):
        config_from(HUB | {"bgp": {"as_number": 65000, "maximum_prefixes": 199}})


def test_hub_weights_are_by_address() -> None:
    """A hub that is not listed has no weight."""
    bgp = config_from(HUB | {"bgp": {"as_number": 65000, "hub_weights": {"10.255.0.1": 200}}}).bgp
    assert bgp is not None
    assert bgp.hub_weights == {ip_address("10.255.0.1"): 200}


def test_no_tables_share_state() -> None:
    """Reading twice returns the same."""
    assert config_from(HUB) == config_from(HUB)


@pytest.mark.parametrize(
    "text",
    [b"x = " + b"9" * 5000, b"x = " + b"[" * 5000, b"x = \xff", b"x = 'a"],
    ids=["number", "depth", "bytes", "end"],
)
def test_a_file_that_is_not_toml_is_a_config_error(tmp_path: Path, text: bytes) -> None:
    """Also if Python's parser raises another exception: a reload then keeps the configuration in force."""
    (file := tmp_path / "agent.toml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"agent\.toml: not TOML: "):
        load(file)


def test_expected_peers_are_rows() -> None:
    """Named by the label alone, or by label and identity or address."""
    rows = [
        {"name": "spoke1"},
        {"name": "spoke2", "identity": "CN=spoke2,*"},
        {"name": "spoke3", "protocol_address": "10.255.0.3"},
    ]
    peers = config_from(HUB | {"peers": {"expected": rows}}).peers
    assert peers == PeersSettings(
        (
            ExpectedPeer("spoke1"),
            ExpectedPeer("spoke2", "CN=spoke2,*"),
            ExpectedPeer("spoke3", protocol_address=ip_address("10.255.0.3")),
        ),
        learn=True,
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a b"}], r"peers.expected\[1\].name is 'a b'"),
        ([{"name": "a"}, {"name": "a"}], "two rows with the name a"),
        ([{"name": "a", "identity": "b", "protocol_address": "10.255.0.3"}], "identity and protocol_address"),
        ([{"name": "a", "adress": "10.255.0.3"}], r"peers.expected\[1\].adress is unknown"),
    ],
)
def test_an_expected_peer_that_cannot_be_one_is_refused(rows: list[dict[str, str]], message: str) -> None:
    """With its row and key."""
    with pytest.raises(ConfigError, match=message):
        config_from(HUB | {"peers": {"expected": rows}})
