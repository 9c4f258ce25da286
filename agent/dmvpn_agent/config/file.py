"""The configuration file: TOML to frozen dataclasses.

The agent and the bridge use one file. Every key has a default, except those that only the operator can know. An
unknown key is an error, so that a typing mistake never disables a rule.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.bridge.settings import Bridge
from dmvpn_agent.charon.settings import Ike
from dmvpn_agent.charon.vici import MAX_VALUE
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.nftables import read_redirect, read_source_filter
from dmvpn_agent.config.policy import Node, read_policy
from dmvpn_agent.config.tunnel import read_tunnels, require_local
from dmvpn_agent.config.uplink import read_uplinks, refuse_second_writer
from dmvpn_agent.config.values import REQUIRED, ConfigError, Table
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.kernel.uplink.settings import UplinkSettings
from dmvpn_agent.policy.lint import Finding, lint
from dmvpn_agent.policy.rules import OnConflict, Policy
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.view.settings import ExpectedPeer, PeersSettings
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.settings import TrustFiles

MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration.

    ``tunnels``: the tunnel interfaces, each with the profile that nhrpd requests from charon for it: the name of a
    connection and of its child in swanctl.conf. ``links``: what ``[tunnel.NAME]`` wants of each of them. ``bgp``,
    ``redirect`` and ``source_filter`` are ``None`` if the agent does not manage them.
    """

    role: Role
    state_directory: Path
    control_socket: Path
    log: Log
    tunnels: Mapping[str, str]
    event_socket: Path
    ike: Ike
    policy: Policy
    trust_files: TrustFiles
    frr: Frr
    bgp: BgpSettings | None
    redirect: RedirectRule | None
    source_filter: SourceFilter | None
    links: Mapping[str, TunnelSettings]
    uplink: UplinkSettings | None
    metrics: Endpoint | None
    metrics_access: HttpAccess
    bridge: Bridge
    peers: PeersSettings

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Return the tunnel interfaces, in the order of the file."""
        return tuple(self.tunnels)

    @property
    def profiles(self) -> frozenset[str]:
        """Return the names of charon's connections that belong to the DMVPN; two interfaces may share one."""
        return frozenset(self.tunnels.values())

    @property
    def manages_bgp(self) -> bool:
        """Tell whether the agent keeps BGP neighbors and filters."""
        return self.bgp is not None

    @property
    def keeps_redirect(self) -> bool:
        """Tell whether the agent keeps the redirect rule."""
        return self.redirect is not None

    @property
    def table(self) -> TableSettings:
        """Return the settings of the agent's nftables table."""
        return TableSettings(
            self.interfaces,
            self.redirect,
            self.source_filter,
            self.policy.groups if self.policy.groups.in_force else None,
        )


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
        with file.open("rb") as stream:
            text = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; expected a readable TOML file") from None
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{file}: longer than {MAX_CONFIG_BYTES} bytes, the limit")
    try:
        return read_config(read_toml(text))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def read_toml(text: bytes) -> dict[str, Any]:
    """Return a TOML document's values. Raises ``ConfigError``."""
    try:
        return tomllib.loads(text.decode())
    except ValueError as error:  # not TOML, not UTF-8, or a number with thousands of digits
        raise ConfigError(f"not TOML: {error}") from None
    except RecursionError:
        raise ConfigError("not TOML: too deeply nested") from None


def findings(config: Config) -> tuple[Finding, ...]:
    """Return the findings about the policy of a configuration, contradictions first."""
    found = []
    if config.policy.requires_crl and not config.trust_files.crls:
        found.append(
            Finding(
                "policy.require_crl",
                "denies every certificate: policy.crls names no CRLs",
                True,
            )
        )
    ibgp = any(rules.allows_ibgp for kinds in config.policy.rules.values() for rules in kinds.values())
    if ibgp and config.bgp and config.bgp.ibgp_peer_group in {"", config.bgp.peer_group}:
        text = "needs a bgp.ibgp_peer_group of its own: FRR allows no iBGP neighbor in a peer-group of eBGP neighbors"
        found.append(Finding("policy.allow_ibgp", text, True))
    shares = any(
        rules.on_conflict is OnConflict.SHARE for kinds in config.policy.rules.values() for rules in kinds.values()
    )
    if shares and not config.trust_files.authorities:
        text = 'is "share" without effect: policy.ca_certificates is empty, so that no issuer is known'
        found.append(Finding("policy.on_conflict", text, False))
    limit = config.bgp and config.bgp.maximum_prefix
    own = (rules for kinds in config.policy.rules.values() for rules in kinds.values() if not rules.transit)
    most = max((rules.max_prefixes for rules in own), default=0)
    if limit and most > limit.maximum:
        text = (
            f"is {limit.maximum}: bgpd would end the session of a peer with as many prefixes as policy.max_prefixes"
            f" allows; set it to {most} or more, or to 0"
        )
        found.append(Finding("bgp.maximum_prefixes", text, True))
    enforced = config.source_filter and config.source_filter.mode is FilterMode.ENFORCE
    if config.policy.groups.in_force and not enforced:
        text = 'trust source addresses, which peers can forge: set source_filter.mode to "enforce"'
        found.append(Finding("policy.groups", text, False))
    return *found, *lint(config.policy)


def refuse_contradictions(config: Config) -> None:
    """Raise ``ConfigError`` with the first contradiction of the policy."""
    for finding in findings(config):
        if finding.contradiction:
            raise ConfigError(f"{finding} (`dmvpn-agent lint-policy` shows all findings)")


def read_config(raw: dict[str, Any]) -> Config:
    """Return the configuration of a TOML document; its policy may contradict itself. Raises ``ConfigError``."""
    top = Table("", raw)
    role = Role(top.get("role", parse.one_of(*Role)))
    nhrp = top.table("nhrp")
    tunnels = nhrp.get("interfaces", parse.tunnels, {"gre1": "dmvpn"})
    policy_table, metrics = top.table("policy"), top.table("metrics")
    bgp_table = top.table("bgp")
    bgp = _bgp(bgp_table, role)
    state_directory = top.get("state_directory", parse.path, "/var/lib/dmvpn-agent")
    ike = _ike(top.table("ike"))
    config = Config(
        role=role,
        state_directory=state_directory,
        control_socket=top.get("control_socket", parse.path, "/run/dmvpn-agent/control.sock"),
        log=_log(top.table("log")),
        tunnels=tunnels,
        event_socket=nhrp.get("event_socket", parse.path, "/run/dmvpn-agent/nhrp.sock"),
        ike=ike,
        policy=read_policy(policy_table, Node(role, tuple(tunnels), bgp.as_number if bgp else None)),
        trust_files=TrustFiles(
            authorities=policy_table.get("ca_certificates", parse.paths, ["/etc/swanctl/x509ca"]),
            crls=policy_table.get("crls", parse.paths, []),
            kept=state_directory / "trust",
            charon_crl_limit=MAX_VALUE if ike.loads_crls else None,
        ),
        frr=_frr(top.table("frr"), bgp_table),
        bgp=bgp,
        redirect=read_redirect(top.table("redirect"), role, tuple(tunnels)),
        source_filter=read_source_filter(top.table("source_filter")),
        links=read_tunnels(top, tuple(tunnels)),
        uplink=read_uplinks(top.table("uplink"), tuple(tunnels)),
        metrics=metrics.get("listen", parse.endpoint, "127.0.0.1:19342"),
        metrics_access=_access(metrics),
        bridge=_bridge(top.table("bridge")),
        peers=_peers(top.table("peers")),
    )
    top.finish()
    require_local(config.links, config.uplink.tunnels if config.uplink else ())
    if config.uplink:
        refuse_second_writer(config.uplink, config.links)
    charon_socket = config.ike.vici_socket
    if config.bridge.listen == charon_socket and "bridge" in raw:
        raise ConfigError(
            f"bridge.listen and ike.vici_socket are both {charon_socket}; charon's own socket must be another"
            " (strongswan.conf: charon.plugins.vici.socket)"
        )
    return config


def _log(table: Table) -> Log:
    return Log(
        level=table.get("level", parse.one_of("debug", "info", "warning", "error"), "info"),
        format=table.get("format", parse.one_of("json", "console"), "json"),
    )


def _frr(table: Table, bgp: Table) -> Frr:
    return Frr(
        vtysh=table.get("vtysh", parse.text, "vtysh"),
        vty_directory=table.get("vty_directory", parse.path, "/run/frr"),
        bgp_transport=bgp.get("transport", parse.one_of("vtysh", "vty"), "vtysh"),
        coalesce=table.get("coalesce_seconds", parse.seconds(0, 60), 0.2),
        resync_interval=table.get("resync_seconds", parse.seconds(1, 3600), 30),
        linger=table.get("linger_seconds", parse.seconds(0, 86400), 600),
    )


def _ike(table: Table) -> Ike:
    return Ike(
        vici_socket=table.get("vici_socket", parse.path, "/run/charon.vici"),
        ends_denied=table.get("end_denied", parse.boolean, True),
        loads_crls=table.get("load_crls", parse.boolean, True),
    )


def _bgp(table: Table, role: Role) -> BgpSettings | None:
    enabled = table.get("enabled", parse.boolean, role is Role.HUB)
    as_number = table.get("as_number", parse.integer(1, 4294967294), REQUIRED if enabled else 1)
    maximum_prefix, transit_maximum_prefix = _maximum_prefixes(table)
    bgp = BgpSettings(
        as_number=as_number,
        peer_group=table.get("peer_group", parse.word, "hubs" if role is Role.SPOKE else "spokes"),
        hub_peer_group=table.get("hub_peer_group", parse.word_or_none, ""),
        ibgp_peer_group=table.get("ibgp_peer_group", parse.word_or_none, ""),
        ibgp_hub_peer_group=table.get("ibgp_hub_peer_group", parse.word_or_none, ""),
        ipv6=table.get("ipv6", parse.boolean, False),
        maximum_prefix=maximum_prefix,
        transit_maximum_prefix=transit_maximum_prefix,
        hub_weights=table.get("hub_weights", parse.hub_weights, {}),
        only_hubs=role is Role.SPOKE,
        vrf=table.get("vrf", parse.word_or_none, ""),
    )
    return bgp if enabled else None


def _maximum_prefixes(table: Table) -> tuple[MaximumPrefix | None, MaximumPrefix | None]:
    """Return the limit of peers, and that of peers that announce the prefixes of others."""
    maximum = parse.integer(0, 4294967295)
    limits = table.get("maximum_prefixes", maximum, 1000), table.get("transit_maximum_prefixes", maximum, 0)
    restart = table.get("maximum_prefixes_restart_minutes", parse.integer(0, 65535), 15)
    own, transit = (MaximumPrefix(limit, restart) if limit else None for limit in limits)
    return own, transit


def _access(table: Table) -> HttpAccess:
    access = HttpAccess(
        certificate=table.get("tls_certificate", parse.path_or_none, ""),
        key=table.get("tls_key", parse.path_or_none, ""),
        client_ca=table.get("tls_client_ca", parse.path_or_none, ""),
        users=table.get("users_file", parse.path_or_none, ""),
        token=table.get("token_file", parse.path_or_none, ""),
    )
    if access.certificate is None and (access.key or access.client_ca):
        raise ConfigError(
            "metrics.tls_certificate is missing: expected a PEM file, as tls_key or tls_client_ca is set"
        )
    return access


def _bridge(table: Table) -> Bridge:
    return Bridge(
        listen=table.get("listen", parse.path, "/run/dmvpn-agent/charon.vici"),
        metrics=table.get("metrics_listen", parse.endpoint, "127.0.0.1:19343"),
        init_limit_half_open=table.get("init_limit_half_open", parse.integer(0, 1_000_000), 0),
        init_limit_job_load=table.get("init_limit_job_load", parse.integer(0, 1_000_000), 0),
    )


def _peers(table: Table) -> PeersSettings:
    settings = PeersSettings(
        expected=tuple(_expected(row) for row in table.rows("expected")),
        learn=table.get("learn", parse.boolean, True),
    )
    names = [peer.name for peer in settings.expected]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"peers.expected has two rows with the name {twice}; expected one for each peer")
    return settings


def _expected(row: Table) -> ExpectedPeer:
    identity = row.get_or("identity", parse.text, "")
    address = row.get_or("protocol_address", parse.address, None)
    if identity and address:
        raise ConfigError(f"{row.name} has identity and protocol_address; expected one of them, or neither")
    return ExpectedPeer(row.get("name", parse.label), identity, address)
