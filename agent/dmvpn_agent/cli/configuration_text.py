"""The text of a configuration, for ``check`` and ``lint-policy``."""

from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_address, ip_network

from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel.iptables.chain import desired_chains
from dmvpn_agent.kernel.iptables.plan import replace
from dmvpn_agent.kernel.nftables import script
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.rules import Combination, OnConflict, Policy, Rules, StaticPeer
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate import Role


def configuration_text(config: Config) -> str:
    """Return what the agent would do with a configuration, and the lines that FRR's configuration needs."""
    lines = [
        "The configuration is valid.",
        "",
        f"role {config.role}",
        f"  charon's socket   {config.ike.vici_socket}",
        f"  metrics           {config.metrics or '(off)'}",
        f"  state directory   {config.state_directory}",
        "",
        policy_text(config.policy),
        "",
        *_frr_lines(config),
    ]
    if config.bgp:
        lines += ["", "For an accepted peer 192.0.2.1 with AS=64512 and NET=198.51.100.0/24 the agent gives vtysh:"]
        lines += [f"  {line}" for line in _example(config)]
    if sections := desired_sections(config.table, (), {}):
        lines += [
            "",
            "The agent gives nft -f -:",
            *(f"  {line}" for line in script.render(sections).splitlines()),
        ]
    for version, chain in desired_chains(config.chain).items():
        restore = f"ip{'' if version == 4 else '6'}tables-restore --noflush"
        lines += ["", f"The agent gives {restore}:", *(f"  {line}" for line in replace(chain, None).splitlines())]
    return "\n".join(lines)


def _frr_lines(config: Config) -> list[str]:
    lines = ["FRR's configuration must contain:", f"  nhrp event socket {config.event_socket}"]
    if config.redirect:
        lines.append(f"  nhrp nflog-group {config.redirect.nflog_group}")
    if config.multicast:
        lines.append(f"  nhrp multicast-nflog-group {config.multicast.nflog_group}")
    for name, profile in config.tunnels.items():
        lines += [f"  interface {name}", f"   tunnel protection vici profile {profile}"]
        for version in sorted(config.policy.ip_versions[name]):
            family = "ip" if version == 4 else "ipv6"
            lines.append(f"   {family} nhrp network-id N")
            lines += [f"   {family} nhrp redirect"] if config.redirect else []
        to = "dynamic" if config.role is Role.HUB else "HUB-NBMA-ADDRESS"
        lines += [f"   ip nhrp map multicast {to}"] if config.multicast else []
    if config.bgp:
        lines.append(f"  {config.bgp.instance}")
        lines += [f"   neighbor {group} peer-group" for group in config.bgp.groups]
    return lines


def policy_text(policy: Policy) -> str:
    """Return the rules in force: those of each kind of peer on each interface, and those of all peers."""
    parts = [_rules(interface, policy) for interface in policy.rules]
    combination = {
        Combination.FIRST: "the first source with any is used",
        Combination.UNION: "all sources are used",
        Combination.AGREE: "the sources with any must agree",
    }[policy.combination]
    crl = "required: without a current CRL a certificate is denied" if policy.requires_crl else "used if there is one"
    confirmation = (
        "must have the same certificate" if policy.confirms_certificates else "not compared with the certificate"
    )
    general = [
        ("resources from", f"{_join(policy.sources)}; {combination}"),
        ("CRL", crl),
        ("IKE_SA", confirmation),
        *(("static peer", _static_peer(row)) for row in policy.static_peers),
        *(("maintenance", str(row)) for row in policy.maintenance),
    ]
    return "\n\n".join([*parts, table(("ALL PEERS", ""), general)])


def _rules(interface: str, policy: Policy) -> str:
    """Return the rules on one interface, with a column for each kind of peer whose rules differ."""
    kinds = {kind: policy.rules[interface][kind] for kind in policy.kinds}
    if len(different := tuple(dict.fromkeys(_column(rules) for rules in kinds.values()))) == 1:
        columns = {" and ".join(kinds): different[0]}
    else:
        columns = {str(kind): _column(rules) for kind, rules in kinds.items()}
    rows = zip(*columns.values(), strict=True)
    named = ((cells[0][0], *(value for _, value in cells)) for cells in rows)
    return table((f"ON {interface}", *(name.upper() for name in columns)), named)


def _column(rules: Rules) -> tuple[tuple[str, str], ...]:
    ipv4, ipv6 = rules.max_prefix_length
    numbers = _join(rules.as_ranges) + ("; or this node's own" if rules.allows_ibgp else "")
    return (
        ("may join", ("with a hub's role" if rules.requires_hub_role else "yes") if rules.allowed else "no"),
        ("protocol addresses in", _join(rules.tunnel_networks)),
        ("protocol addresses", f"at most {rules.max_protocol_addresses}"),
        ("hosts behind it", "if its prefixes contain them" if rules.allows_hosts else "no"),
        ("AS number", f"{'required' if rules.needs_as_number else 'optional'}, in {numbers}"),
        ("prefixes in", _join(rules.allowed_networks)),
        ("prefixes never in", _join((*rules.tunnel_networks, *rules.forbidden_networks))),
        ("may announce", "all of these, for other peers" if rules.transit else "the prefixes of its certificate"),
        ("default route", "allowed" if rules.allows_default_route else "no"),
        ("prefixes", f"at most {rules.max_prefixes}, no longer than /{ipv4} (IPv6: /{ipv6})"),
        ("issuers", _join(rules.issuers, "any")),
        ("subjects", _join(rules.subjects, "any")),
        ("conflict with another peer", _CONFLICTS[rules.on_conflict]),
    )


_CONFLICTS = {
    OnConflict.DENY: "denied",
    OnConflict.TAKE_OVER: "the newer peer takes over",
    OnConflict.SHARE: "denied, except for shared prefixes of one site",
}


def _static_peer(row: StaticPeer) -> str:
    resources = row.resources
    claims = (*resources.protocol_addresses, *resources.as_numbers, *resources.prefixes, *resources.roles)
    certificate = "with or without certificate" if row.overrides else "without certificate"
    return f"{row.identity} ({certificate}): {_join(claim.text for claim in claims)}"


def _join(values: Iterable[object], nothing: str = "(none)") -> str:
    return ", ".join(str(value) for value in values) or nothing


def _example(config: Config) -> list[str]:
    assert config.bgp is not None  # noqa: S101  the caller has checked
    peer = Peer(
        protocol_address=ip_address("192.0.2.1"),
        nbma_address=ip_address("203.0.113.1"),
        interface=config.interfaces[0],
        as_number=64512,
        prefixes=(ip_network("198.51.100.0/24"),),
        fingerprint="0" * 64,
        subject="",
        not_after=datetime.max,
    )
    settings = config.bgp
    return render(plan(desired([peer], settings), Observed()).changes, settings.instance)
