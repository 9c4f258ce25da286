"""What is wrong with a policy, by itself (``policy/lint.py``) and with the rest of the configuration."""

from collections.abc import Iterator

from dmvpn_agent.config.settings import Config
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.policy.lint import Finding, lint
from dmvpn_agent.policy.rules import OnConflict, Rules


def findings(config: Config) -> tuple[Finding, ...]:
    """Return the findings about the policy of a configuration, contradictions first."""
    return (
        *_missing_crls(config),
        *_shared_peer_group(config),
        *_sharing_without_issuer(config),
        *_low_maximum_prefixes(config),
        *_forgeable_groups(config),
        *lint(config.policy),
    )


def refuse_contradictions(config: Config) -> None:
    """Raise ``ConfigError`` with the first contradiction of the policy."""
    for finding in findings(config):
        if finding.contradiction:
            raise ConfigError(f"{finding} (`dmvpn-agent lint-policy` shows all findings)")


def _missing_crls(config: Config) -> Iterator[Finding]:
    if config.policy.requires_crl and not config.trust_files.crls and not config.crl.is_on:
        text = "denies every certificate: policy.crls names no CRLs, and crl.fetch is false"
        yield Finding("policy.require_crl", text, True)


def _shared_peer_group(config: Config) -> Iterator[Finding]:
    ibgp = any(rules.allows_ibgp for rules in _all_rules(config))
    if ibgp and config.bgp and config.bgp.ibgp_peer_group in {"", config.bgp.peer_group}:
        text = "needs a bgp.ibgp_peer_group of its own: FRR allows no iBGP neighbor in a peer-group of eBGP neighbors"
        yield Finding("policy.allow_ibgp", text, True)


def _sharing_without_issuer(config: Config) -> Iterator[Finding]:
    shares = any(rules.on_conflict is OnConflict.SHARE for rules in _all_rules(config))
    if shares and not config.trust_files.authorities:
        text = 'is "share" without effect: policy.ca_certificates is empty, so that no issuer is known'
        yield Finding("policy.on_conflict", text, False)


def _low_maximum_prefixes(config: Config) -> Iterator[Finding]:
    limit = config.bgp and config.bgp.maximum_prefix
    most = max((rules.max_prefixes for rules in _all_rules(config) if not rules.transit), default=0)
    if limit and most > limit.maximum:
        text = (
            f"is {limit.maximum}: bgpd would end the session of a peer with as many prefixes as policy.max_prefixes"
            f" allows; set it to {most} or more, or to 0"
        )
        yield Finding("bgp.maximum_prefixes", text, True)


def _forgeable_groups(config: Config) -> Iterator[Finding]:
    enforced = config.source_filter and config.source_filter.mode is FilterMode.ENFORCE
    if config.policy.groups.in_force and not enforced:
        text = 'trust source addresses, which peers can forge: set source_filter.mode to "enforce"'
        yield Finding("policy.groups", text, False)


def _all_rules(config: Config) -> Iterator[Rules]:
    for kinds in config.policy.rules.values():
        yield from kinds.values()
