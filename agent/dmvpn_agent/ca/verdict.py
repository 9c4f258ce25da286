"""What the nodes' own Judge will say about a certificate: nothing is signed that a hub or a spoke would deny."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import Node, merged
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.config.policy import PRIVATE_AS_RANGES, read_policy
from dmvpn_agent.config.policy import Node as JudgingNode
from dmvpn_agent.config.table import Table
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.resources import effective_resources
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.x509.authorities import read_authority
from dmvpn_agent.x509.certificate import BadCertificate, Certificate, Role
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import values
from dmvpn_agent.x509.rfc3779_chain import held_resources
from dmvpn_agent.x509.trust import Chain, Chains, Issuer, Trust
from dmvpn_agent.x509.trust_store import TrustStore

#: nhrpd keeps no certificate of this length or longer (FACTS: its buffer is 2048 bytes).
NHRPD_LIMIT = 2048
_INTERFACE = "gre1"
_NBMA = IPv4Address("192.0.2.1")


class _AssumedChain:
    """Treats a certificate as if the CAs had signed it already."""

    def __init__(self, issuers: tuple[Certificate, ...]) -> None:
        self._chain = Chain(tuple(Issuer(one) for one in issuers), self_signed=True)

    def chains(self, _: Certificate) -> Chains:
        """Return the chain that the certificate will have."""
        return Chains((self._chain,))


def refuse_draft(der: bytes, node: Node, above: tuple[bytes, ...], networks: Networks, now: datetime) -> None:
    """Judge a certificate that the CA has not signed yet. Raises ``CaError`` if a node would deny it.

    ``above``: the CA certificates (DER), nearest first.
    """
    issuers = tuple(read_authority(one).certificate for one in above)
    _refuse(der, node, Trust(issuers, finder=_AssumedChain(issuers), requires_chain=True), networks, now)


def refuse_signed(der: bytes, node: Node, above: tuple[bytes, ...], networks: Networks, now: datetime) -> None:
    """Judge a signed certificate, with its signature. Raises ``CaError`` if a node would deny it."""
    _refuse(der, node, TrustStore([read_authority(one) for one in above]).trust(), networks, now)


def _refuse(der: bytes, node: Node, trust: Trust, networks: Networks, now: datetime) -> None:
    if len(der) >= NHRPD_LIMIT:
        raise CaError(f"the certificate of {node.name} would have {len(der)} bytes, and nhrpd keeps none of"
                      f" {NHRPD_LIMIT} or more", _smaller(node))  # fmt: skip
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise CaError(f"the certificate of {node.name} would be unreadable: {certificate.why}")
    for role in Role:
        policy = _policy(role, node, networks)
        _compare(certificate, node, policy)
        judge = Judge(policy, trust)
        for request in _requests(certificate, node, role):
            decision = judge.decide(request, now)
            if isinstance(decision, Deny):
                raise CaError(f"a {role} would deny {node.name}: {decision}",
                              "nothing was signed; `dmvpn-agent ca list pools` shows the networks")  # fmt: skip


def _requests(certificate: Certificate, node: Node, role: Role) -> Iterator[BindingRequest]:
    to_hub = node.is_hub and role is Role.SPOKE
    for address in node.addresses:
        yield BindingRequest(
            interface=_INTERFACE,
            binding_type=BindingType.NHS if to_hub else BindingType.DYNAMIC,
            protocol_address=address,
            nbma_address=_NBMA,
            certificate=certificate,
        )


def _policy(role: Role, node: Node, networks: Networks) -> Policy:
    """Return the policy that the files of deploy/ have, for this network."""
    ranges = {*PRIVATE_AS_RANGES, *networks.as_ranges}
    table: dict[str, Any] = {
        "tunnel_networks": [str(one) for one in networks.tunnels],
        "allowed_networks": [str(one) for one in networks.sites],
        "as_numbers": [str(AsRange(*one)) for one in sorted(ranges)],
        "on_conflict": "share",
    }
    return read_policy(Table("policy", table), JudgingNode(role, (_INTERFACE,), _other_as_number(node)))


def _other_as_number(node: Node) -> int:
    """Return the AS number of the node that judges: another one. Whether iBGP is allowed, its own policy says."""
    return 4200000000 if node.as_number != 4200000000 else 4200000001


def _compare(certificate: Certificate, node: Node, policy: Policy) -> None:
    """Raise ``CaError`` if the certificate gives another set of resources than the registry has."""
    rfc3779 = held_resources(certificate, ()).resources
    resources = effective_resources(certificate, None, policy, rfc3779).resources
    found = (
        set(values(resources.protocol_addresses)),
        values(resources.as_numbers),
        set() if node.is_hub else set(values(resources.prefixes)),
    )
    expected = (
        set(node.addresses),
        (AsRange(node.as_number, node.as_number),),
        set() if node.is_hub else set(merged(node.prefixes)),
    )
    if found != expected:
        raise CaError(f"the certificate of {node.name} would be read as {found}, and the registry has {expected}",
                      "this is a bug: nothing was signed")  # fmt: skip


def _smaller(node: Node) -> str:
    return (
        f"{node.site} has {len(node.prefixes)} prefixes: give it fewer and larger ones, or make the CA with"
        " --resources-in extensions, which takes less room"
    )
