"""An accepted request as a peer."""

import hashlib

from dmvpn_agent.addresses import Network
from dmvpn_agent.policy.authorization_rules import Authorization
from dmvpn_agent.policy.groups import Groups
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import OnConflict, Rules
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.trust import Chain


def accepted_peer(
    request: BindingRequest, kind: PeerKind, rules: Rules, authorized: Authorization, site: str, groups: Groups,
) -> Peer:  # fmt: skip
    """Return the peer of a request that passed every rule, not in quarantine; ``site`` is its ``site_key``."""
    certificate = request.certificate if isinstance(request.certificate, Certificate) else None
    ike_peer = None if certificate else next(iter(request.ike_peers or ()), None)
    ike_identity = ike_peer.identity if ike_peer else ""
    label = named.label if (named := certificate or ike_peer) else None
    return Peer(
        protocol_address=request.protocol_address,
        nbma_address=request.nbma_address,
        interface=request.interface,
        as_number=authorized.as_number,
        prefixes=authorized.prefixes,
        fingerprint=certificate.fingerprint if certificate else "",
        subject=certificate.subject if certificate else ike_identity,
        not_after=certificate.not_after if certificate else None,
        kind=kind,
        identity=(certificate.identity if certificate else "") or f"ike:{ike_identity}",
        max_prefix_length=rules.max_prefix_length,
        transit=rules.transit_networks() if rules.transit else None,
        withheld=_withheld(rules, authorized),
        default_route=rules.allows_default_route,
        label=label,
        site=site,
        groups=groups.of_peer(
            certificate.subject_rfc4514 if certificate else ike_identity,
            str(label or ""),
            certified=certificate is not None,
        ),
    )


def site_key(rules: Rules, certificate: Certificate | None, chain: Chain | None, authorized: Authorization) -> str:
    """Return what two peers must have in common to share prefixes; empty for a peer that shares with no other.

    The key that issued their certificates, the site in their subjects, and all of their prefixes.
    """
    if rules.on_conflict is not OnConflict.SHARE or certificate is None or chain is None:
        return ""
    issuer = chain.issuers[0].key
    if not (issuer and certificate.site and authorized.prefixes):
        return ""
    prefixes = sorted(str(prefix) for prefix in authorized.prefixes)
    return " ".join((hashlib.sha256(issuer).hexdigest(), certificate.site, *prefixes))


def _withheld(rules: Rules, authorized: Authorization) -> tuple[Network, ...]:
    """Return the networks that no announcement of the peer may overlap.

    The rules keep a peer's own prefixes clear of them, except a default route. A peer that carries others' prefixes
    has routes to the protocol addresses.
    """
    if rules.transit:
        return rules.forbidden_networks
    if any(prefix.prefixlen == 0 for prefix in authorized.prefixes):
        return *rules.tunnel_networks, *rules.forbidden_networks
    return ()
