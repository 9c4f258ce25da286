"""Requests, policies and what is decided, for the tests of decisions."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Policy, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Claim, Resources, Role, Source
from dmvpn_agent.x509.serial_set import SerialSet
from dmvpn_agent.x509.trust import Chain, Chains, Issuer, Trust, VerifiedCrl
from factories import ADDRESS, NOW, POLICY, RULES, UNITS, YEAR, certificate, decide, policy, request

GRE, AS, NET = UNITS
HOST = ip_address("192.168.2.7")
SPOKE_RULES = replace(RULES, needs_as_number=False, allows_hosts=True)
SPOKE_POLICY = policy(SPOKE_RULES, role=Role.SPOKE, own_as_number=None)
EVERYTHING = replace(RULES, allowed_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
SOURCES = (Source.SUBJECT, Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA)


def rules(**changes: Any) -> Policy:
    """Return the policy with some of its rules changed."""
    return policy(replace(RULES, **changes))


def named(source: Source, *units: str, **resources: Any) -> BindingRequest:
    """Return a request whose certificate names resources in another source as well."""
    own = certificate(*units)
    return request(certificate=replace(own, resources={**own.resources, source: Resources(**resources)}))


def net(text: str) -> Claim[Any]:
    return Claim("IPAddrBlocks", text, ip_network(text))


#: The CA that issues ``certificate()``.
CA = replace(certificate(), fingerprint="ca", serial=990, subject="CN=test CA", subject_rfc4514="CN=test CA",
             not_before=NOW - 2 * YEAR, not_after=NOW + 2 * YEAR, resources={})  # fmt: skip


class Found:
    """Finds the same chains for every certificate."""

    def __init__(self, *chains: Chain) -> None:
        self._chains = Chains(chains, "" if chains else "no CA signed it")

    def chains(self, _: Certificate) -> Chains:
        return self._chains


def trusting(*chains: Chain) -> Trust:
    """Return trust in which every certificate has these chains."""
    return Trust((CA,), (), Found(*chains), requires_chain=True)


def revoking(*serials: int, **changes: Any) -> VerifiedCrl:
    """Return a CRL of ``CA``."""
    crl = VerifiedCrl("CN=test CA", 7, NOW, NOW + YEAR, SerialSet.of(*serials), NOW + YEAR)
    return replace(crl, **changes)


def revoked(*serials: int, **changes: Any) -> Trust:
    """Return a trust in which ``CA`` issued all certificates, and revoked these."""
    return trusting(Chain((Issuer(CA, (revoking(*serials, **changes),)),)))


#: The peer of ``request()``, as charon prints it.
OWN = IkePeer("OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1", has_certificate=True)
STRANGER = IkePeer("CN=stranger", has_certificate=True)
#: One with the name of the requests' certificate, of whose own certificate the bridge has said nothing.
AWAITED = IkePeer(
    "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1", has_certificate=True, awaited=True
)
PSK = IkePeer("spoke7@example.net", has_certificate=False)
ROW = StaticPeer("*@example.net", Resources((Claim("policy.peer", "10.255.0.2", ADDRESS),),
                                            (Claim("policy.peer", "64512", AsRange(64512, 64512)),)))  # fmt: skip


def denial_of(wanted: BindingRequest, by: Policy = POLICY, trust: Trust | None = None) -> Deny:
    """Return the denial of a request."""
    decision = decide(wanted, by, trust=trust)
    assert isinstance(decision, Deny), decision
    return decision


def peer_of(wanted: BindingRequest, by: Policy = POLICY, trust: Trust | None = None) -> Peer:
    """Return the peer that a request makes."""
    decision = decide(wanted, by, trust=trust)
    assert isinstance(decision, Accept), decision
    assert decision.peer is not None
    return decision.peer
