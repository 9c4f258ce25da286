"""The configuration file: TOML to frozen dataclasses.

The agent and the bridge use one file. Every key has a default, except those that only the operator can know. An
unknown key is an error, so that a typing mistake never disables a rule.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.bgp import read_bgp
from dmvpn_agent.config.bridge import read_bridge
from dmvpn_agent.config.control import read_control_socket
from dmvpn_agent.config.crl import read_crl
from dmvpn_agent.config.findings import refuse_contradictions
from dmvpn_agent.config.frr import read_frr
from dmvpn_agent.config.ike import read_ike
from dmvpn_agent.config.log import read_log
from dmvpn_agent.config.metrics import read_metrics
from dmvpn_agent.config.multicast import read_multicast, refuse_shared_group
from dmvpn_agent.config.nftables import (
    read_firewall,
    read_gre_guard,
    read_mss_clamp,
    read_redirect,
    read_source_filter,
    refuse_wildcards,
)
from dmvpn_agent.config.page import read_page
from dmvpn_agent.config.peers import read_peers
from dmvpn_agent.config.policy import Node, read_policy
from dmvpn_agent.config.renewal import read_renewal
from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.config.toml_file import read_toml_file
from dmvpn_agent.config.trust import read_trust_files
from dmvpn_agent.config.tunnel import interfaces_with_profiles, read_tunnels, require_local
from dmvpn_agent.config.uplink import read_uplinks, refuse_second_writer
from dmvpn_agent.kernel.iptables.backend import in_use
from dmvpn_agent.kernel.iptables.settings import Backend
from dmvpn_agent.x509.certificate import Role


def load(file: Path) -> Config:
    """Read and validate a configuration file.

    Raises ``ConfigError`` if the file cannot be read, is over 1 MiB or is not TOML, if a key is unknown or a value is
    not allowed, or if the policy contradicts itself.
    """
    config = load_contradictory(file)
    try:
        refuse_contradictions(config)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    return config


def load_contradictory(file: Path) -> Config:
    """Read a configuration file as ``load`` does, but accept a policy that contradicts itself."""
    try:
        config = read_config(read_toml_file(file))
        return replace(config, firewall=in_use(config.firewall))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def read_config(raw: dict[str, Any]) -> Config:
    """Return the configuration of a TOML document; its policy may contradict itself. Raises ``ConfigError``."""
    top = Table("", raw)
    config = _read_tables(top)
    top.finish()
    _refuse_clashes(config, bridge_is_used="bridge" in raw)
    return config


def _read_tables(top: Table) -> Config:
    role = Role(top.get("role", parse.one_of(*Role)))
    nhrp, policy, bgp_table = top.table("nhrp"), top.table("policy"), top.table("bgp")
    tunnels = nhrp.get("interfaces", interfaces_with_profiles, {"gre1": "dmvpn"})
    bgp = read_bgp(bgp_table, role)
    state_directory = top.get("state_directory", parse.path, "/var/lib/dmvpn-agent")
    ike, crl = read_ike(top.table("ike")), read_crl(top.table("crl"))
    metrics, access = read_metrics(top.table("metrics"))
    links = read_tunnels(top, tuple(tunnels))
    trust_files = read_trust_files(policy, crl, state_directory, ike)
    return Config(
        role=role,
        state_directory=state_directory,
        control_socket=read_control_socket(top),
        log=read_log(top.table("log")),
        tunnels=tunnels,
        event_socket=nhrp.get("event_socket", parse.path, "/run/dmvpn-agent/nhrp.sock"),
        ike=ike,
        policy=read_policy(policy, Node(role, tuple(tunnels), bgp.as_number if bgp else None)),
        trust_files=trust_files,
        crl=crl,
        renewal=read_renewal(top.table("renewal"), trust_files.authorities),
        frr=read_frr(top.table("frr"), bgp_table),
        bgp=bgp,
        firewall=read_firewall(top.table("firewall")),
        redirect=read_redirect(top.table("redirect"), role, tuple(tunnels)),
        source_filter=read_source_filter(top.table("source_filter")),
        guard=read_gre_guard(top.table("gre_guard"), links.values()),
        clamps_mss=read_mss_clamp(top.table("mss_clamp")),
        multicast=read_multicast(top.table("multicast"), tuple(tunnels)),
        links=links,
        uplink=read_uplinks(top.table("uplink"), tuple(tunnels)),
        metrics=metrics,
        metrics_access=access,
        bridge=read_bridge(top.table("bridge")),
        peers=read_peers(top.table("peers")),
        page=read_page(top.table("page")),
    )


def _refuse_clashes(config: Config, *, bridge_is_used: bool) -> None:
    """Raise ``ConfigError`` for tables that do not go together."""
    require_local(config.links, config.uplink.tunnels if config.uplink else ())
    if config.uplink:
        refuse_second_writer(config.uplink, config.links)
    refuse_shared_group(config.multicast, config.redirect)
    if config.firewall is Backend.IPTABLES:
        refuse_wildcards(config.interfaces)
    charon_socket = config.ike.vici_socket
    if config.bridge.listen == charon_socket and bridge_is_used:
        raise ConfigError(
            f"bridge.listen and ike.vici_socket are both {charon_socket}; charon's own socket must be another"
            " (strongswan.conf: charon.plugins.vici.socket)"
        )
