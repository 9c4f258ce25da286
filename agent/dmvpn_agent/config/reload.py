"""What a running program applies of a changed configuration, and which changed keys need a restart."""

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from dmvpn_agent.config.settings import Config

AGENT, BRIDGE, PAGE = "agent", "bridge", "page"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the configuration file, or a table with all its keys.

    ``field``: the attribute of ``Config`` that the key sets. ``restart``: the programs that read the key only at
    start.
    """

    name: str
    field: str
    restart: tuple[str, ...] = ()


#: Every key. A key that sets several attributes has several rows.
KEYS = (
    Key("role", "role", (AGENT,)),
    Key("role", "bgp.only_hubs"),
    Key("state_directory", "state_directory", (AGENT, BRIDGE)),
    Key("control_socket", "control_socket", (AGENT, PAGE)),
    Key("log", "log"),
    Key("nhrp.event_socket", "event_socket", (AGENT,)),
    Key("nhrp.interfaces", "tunnels", (AGENT,)),
    Key("nhrp.interfaces", "profiles", (AGENT, BRIDGE)),
    Key("ike.vici_socket", "ike.vici_socket", (AGENT, BRIDGE)),
    Key("ike.end_denied", "ike.ends_denied"),
    Key("ike.load_crls", "ike.loads_crls", (AGENT,)),
    Key("policy", "policy"),
    Key("policy.ca_certificates", "trust_files.authorities", (BRIDGE,)),
    Key("policy.crls", "trust_files.crls"),
    Key("crl.fetch", "crl.fetches", (AGENT,)),
    Key("crl.mirrors", "crl.mirrors", (AGENT,)),
    Key("crl.interval_seconds", "crl.interval", (AGENT,)),
    Key("crl.listen", "crl.listen", (AGENT,)),
    Key("renewal.server", "renewal.server", (AGENT,)),
    Key("renewal.ca_certificates", "renewal.server_authorities"),
    Key("renewal.certificate", "renewal.certificate"),
    Key("renewal.key", "renewal.key"),
    Key("renewal.reauthenticate", "renewal.reauthenticates"),
    Key("renewal.state_directory", "renewal.state", (AGENT,)),
    Key("frr.vtysh", "frr.vtysh", (AGENT,)),
    Key("frr.vty_directory", "frr.vty_directory", (AGENT,)),
    Key("frr.coalesce_seconds", "frr.coalesce"),
    Key("frr.resync_seconds", "frr.resync_interval"),
    Key("frr.linger_seconds", "frr.linger"),
    Key("bgp.enabled", "manages_bgp", (AGENT,)),
    Key("bgp.as_number", "bgp.as_number", (AGENT,)),
    Key("bgp.vrf", "bgp.vrf", (AGENT,)),
    Key("bgp.transport", "frr.bgp_transport", (AGENT,)),
    Key("bgp.peer_group", "bgp.peer_group"),
    Key("bgp.hub_peer_group", "bgp.hub_peer_group"),
    Key("bgp.ibgp_peer_group", "bgp.ibgp_peer_group"),
    Key("bgp.ibgp_hub_peer_group", "bgp.ibgp_hub_peer_group"),
    Key("bgp.ipv6", "bgp.ipv6"),
    Key("bgp.maximum_prefixes", "bgp.maximum_prefix"),
    Key("bgp.maximum_prefixes_restart_minutes", "bgp.maximum_prefix"),
    Key("bgp.maximum_prefixes_restart_minutes", "bgp.transit_maximum_prefix"),
    Key("bgp.transit_maximum_prefixes", "bgp.transit_maximum_prefix"),
    Key("bgp.hub_weights", "bgp.hub_weights"),
    Key("firewall.backend", "firewall"),
    Key("redirect.enabled", "keeps_redirect", (AGENT,)),
    Key("redirect.nflog_group", "redirect.nflog_group"),
    Key("redirect.source_prefix_length", "redirect.source_prefix_length"),
    Key("redirect.destination_prefix_length", "redirect.destination_prefix_length"),
    Key("redirect.source_prefix_length_ipv6", "redirect.source_prefix_length_ipv6"),
    Key("redirect.destination_prefix_length_ipv6", "redirect.destination_prefix_length_ipv6"),
    Key("redirect.rate_per_minute", "redirect.rate_per_minute"),
    Key("redirect.burst", "redirect.burst"),
    Key("source_filter", "source_filter"),
    Key("gre_guard", "guard"),
    Key("mss_clamp", "clamps_mss"),
    Key("multicast", "multicast"),
    Key("tunnel", "links"),
    Key("tunnel", "guard"),
    Key("uplink", "uplink", (AGENT,)),
    Key("metrics.listen", "metrics", (AGENT,)),
    Key("peers.learn", "peers.learn"),
    Key("peers.expected", "peers.expected"),
    Key("metrics.tls_certificate", "metrics_access.certificate", (AGENT, BRIDGE)),
    Key("metrics.tls_key", "metrics_access.key", (AGENT, BRIDGE)),
    Key("metrics.tls_client_ca", "metrics_access.client_ca", (AGENT, BRIDGE)),
    Key("metrics.users_file", "metrics_access.users", (AGENT, BRIDGE)),
    Key("metrics.token_file", "metrics_access.token", (AGENT, BRIDGE)),
    Key("bridge.listen", "bridge.listen", (AGENT, BRIDGE)),
    Key("bridge.metrics_listen", "bridge.metrics", (BRIDGE,)),
    Key("bridge.init_limit_half_open", "bridge.init_limit_half_open", (BRIDGE,)),
    Key("bridge.init_limit_job_load", "bridge.init_limit_job_load", (BRIDGE,)),
    Key("page", "page", (PAGE,)),
)


def restart_needed(program: str, now: object, wanted: object) -> tuple[str, ...]:
    """Return the changed keys that a program applies only after a restart.

    ``now`` and ``wanted``: a ``Config``, or another value with the fields of the program's keys.
    """
    changed = (key.name for key in KEYS if program in key.restart and _differs(key.field, now, wanted))
    return tuple(dict.fromkeys(changed))


def reloaded(now: Config, wanted: Config) -> Config:
    """Return what the agent applies without a restart: ``now`` with the other keys as ``wanted``."""
    at_once = (key.field for key in KEYS if AGENT not in key.restart and _differs(key.field, now, wanted))
    config = reduce(lambda config, field: _with(config, field, _value(wanted, field)), at_once, now)
    # The agent does not watch a new interface before a restart. A removed interface accepts no peer from now on.
    rules = {name: rules for name, rules in wanted.policy.rules.items() if name in now.tunnels}
    return replace(config, policy=replace(config.policy, rules=rules))


def _differs(field: str, now: object, wanted: object) -> bool:
    """Tell whether a field was changed; a table that is off on either side has no fields."""
    table = field.partition(".")[0]
    both = getattr(now, table) is not None and getattr(wanted, table) is not None
    return (both or "." not in field) and _value(now, field) != _value(wanted, field)


def _value(config: object, field: str) -> Any:
    value: Any = config
    return reduce(getattr, field.split("."), value)


def _with(config: Config, field: str, value: Any) -> Config:
    table, _, name = field.partition(".")
    changed = replace(getattr(config, table), **{name: value}) if name else value
    return replace(config, **{table: changed})
