"""Each reason for a denial in plain words: what it means, and what would let the peer in.

The operator judges the advice: a peer that could be accepted is not always one that should be.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dmvpn_agent.policy.reasons import Reason

_CLOCK = "check the clock of this node"


class Advice(NamedTuple):
    """What a reason means.

    ``because`` completes "denied because …". The rest are remedies, empty if none helps. ``certificate``: what
    another certificate would have to contain. ``policy``: the configuration keys that decide. ``otherwise``: what
    else helps.
    """

    because: str
    certificate: str = ""
    policy: str = ""
    otherwise: str = ""

    @property
    def remedies(self) -> tuple[str, ...]:
        """Return the remedies; any one of them is enough."""
        parts = (("certificate", self.certificate), ("configuration", self.policy), ("otherwise", self.otherwise))
        return tuple(f"{name}: {text}" for name, text in parts if text)


_QUESTION = {
    Reason.MALFORMED_EVENT: Advice(
        "the event is not one that nhrpd sends",
        otherwise="find out which program writes to the event socket; the agent knows FRR 8.4 to 10.6",
    ),
    Reason.UNKNOWN_INTERFACE: Advice(
        "the policy has no rules for this interface",
        policy="add the interface and its IPsec profile to nhrp.interfaces; [policy.interfaces.<name>] can give it"
        " rules of its own",
    ),
    Reason.UNEXPECTED_BINDING_TYPE: Advice(
        "nhrpd uses bindings of this type for its own bookkeeping; no peer asks for one",
    ),
}

_AUTHENTICATION = {
    Reason.NO_CERTIFICATE: Advice(
        "neither nhrpd nor charon has a certificate of the peer, and no [[policy.peer]] matches its IKE identity",
        certificate="one whose subject or subjectAltName is the peer's IKE identity",
        policy="for a peer with a pre-shared key, add a [[policy.peer]] for its IKE identity",
    ),
    Reason.MALFORMED_CERTIFICATE: Advice(
        "the certificate cannot be read",
        certificate="issue a new one; `openssl x509 -text` shows where this one breaks off",
    ),
    Reason.DENIED_BY_MAINTENANCE: Advice(
        "an operator has blocked this peer",
        policy="remove the [[policy.maintenance]] that matches the peer",
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Advice(
        "the certificate is not valid yet",
        certificate="one that is valid now",
        otherwise=f"wait until it is valid, or {_CLOCK}",
    ),
    Reason.CERTIFICATE_EXPIRED: Advice(
        "the certificate has expired",
        certificate="renew it",
        otherwise=_CLOCK,
    ),
    Reason.CERTIFICATE_UNCONFIRMED: Advice(
        "no peer with an IKE_SA at the NBMA address authenticated with this certificate; nhrpd cannot tell two peers"
        " behind one NBMA address apart",
        certificate="one whose subject or subjectAltName is the peer's IKE identity",
        policy="policy.confirm_certificates = false turns this rule off",
        otherwise="give each peer an NBMA address of its own",
    ),
    Reason.CERTIFICATE_AWAITED: Advice(
        "the bridge has not yet said with which certificate the peer's IKE_SA was authenticated",
        otherwise="start the bridge (`dmvpn-agent bridge`), or see its log; the peer is judged again once it answers",
    ),
}

_CHAIN = {
    Reason.UNTRUSTED_ISSUER: Advice(
        "no chain of valid signatures leads from the certificate to a CA in policy.ca_certificates",
        certificate="one issued by such a CA and signed with SHA-256 or better",
        policy="add the missing CA to policy.ca_certificates; intermediate CAs belong there too",
    ),
    Reason.ISSUER_NOT_VALID: Advice(
        "the certificate of a CA above it has expired or is not valid yet",
        policy="replace the CA's certificate in policy.ca_certificates by its renewed one",
        otherwise=_CLOCK,
    ),
    Reason.CERTIFICATE_REVOKED: Advice(
        "the certificate is revoked",
        certificate="issue a new one, which has another serial number",
        otherwise="if it was revoked by mistake, publish a CRL without it",
    ),
    Reason.ISSUER_REVOKED: Advice(
        "a CA above the certificate is revoked",
        certificate="one issued by another CA",
        otherwise="if the CA was revoked by mistake, publish a CRL without it",
    ),
    Reason.REVOCATION_UNKNOWN: Advice(
        "no current CRL shows whether the certificate, or a CA above it, is revoked",
        policy="add a current CRL to policy.crls, or set policy.require_crl = false",
        otherwise="have the CA publish a new CRL",
    ),
    Reason.RESOURCES_EXCEED_ISSUER: Advice(
        "the certificate, or a CA above it, names address blocks or AS numbers that its issuer does not hold"
        " (RFC 3779)",
        certificate="one that names only what its issuer holds",
        policy="add the issuer's name to policy.allow_overclaim",
    ),
}

_RESOURCES = {
    Reason.ISSUER_NOT_ALLOWED: Advice(
        "the policy does not allow its issuer",
        certificate="one of an allowed issuer",
        policy="policy.issuers",
    ),
    Reason.SUBJECT_NOT_ALLOWED: Advice(
        "the policy does not allow its subject",
        certificate="one with an allowed subject",
        policy="policy.subjects",
    ),
    Reason.SOURCES_DISAGREE: Advice(
        "two places in the certificate name different resources, and the policy requires them to agree",
        certificate="one that names the same in both places",
        policy="change policy.sources.combine, or remove one of the two from policy.sources.order",
    ),
    Reason.INHERITANCE_UNRESOLVED: Advice(
        "the certificate inherits resources from its issuer, which is unknown or does not name them",
        certificate="one that names its prefixes and AS number itself",
        policy="add the issuer's certificate to policy.ca_certificates",
    ),
    Reason.MALFORMED_ROLE: Advice(
        "the extension that marks hubs cannot be read",
        certificate="one with a DER BOOLEAN in extension 1.3.6.1.4.1.31536.1.1, or without that extension",
    ),
    Reason.ROLE_NOT_ALLOWED: Advice(
        "the policy does not allow this kind of peer",
        certificate="if the peer is a hub, one with OU=Hubs or dmvpn-ca's extension, and nothing that contradicts it",
        policy="allowed or require_hub_role in [policy.hub], [policy.spoke] or [policy.shortcut]",
    ),
    Reason.NO_PROTOCOL_ADDRESS: Advice(
        "no source of the policy names a protocol address in the certificate",
        certificate="one with an OU GRE=<protocol address>, or an IP address in subjectAltName",
        policy="if the certificate names the address elsewhere, add that source to policy.sources.order",
    ),
    Reason.MALFORMED_PROTOCOL_ADDRESS: Advice(
        "a protocol address in the certificate cannot be read",
        certificate="one with every address in the form 10.255.0.2 or 2001:db8::2",
    ),
    Reason.TOO_MANY_PROTOCOL_ADDRESSES: Advice(
        "the certificate names more protocol addresses than the policy allows",
        certificate="one with fewer",
        policy="policy.max_protocol_addresses",
    ),
}

_ADDRESS = {
    Reason.HOST_OUTSIDE_PREFIXES: Advice(
        "the host is in no prefix that its peer may have",
        certificate="one with a prefix that contains the host",
        policy="policy.forbidden_networks, if it contains the host",
    ),
    Reason.PROTOCOL_ADDRESS_MISMATCH: Advice(
        "the certificate does not name the requested protocol address",
        certificate="one that names this address too, if it belongs to this peer",
        otherwise="configure the peer with the protocol address in its certificate",
    ),
    Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL: Advice(
        "the protocol address is outside the tunnel networks",
        certificate="one with an address in a tunnel network",
        policy="policy.tunnel_networks",
    ),
    Reason.PROTOCOL_ADDRESS_RESERVED: Advice(
        "no peer may have the protocol address: it belongs to this node, or is the first or last one of a tunnel"
        " network",
        certificate="one with another address",
        policy="policy.tunnel_networks, if it differs from the networks of the tunnel interfaces",
    ),
}

_ROUTING = {
    Reason.NO_AS_NUMBER: Advice(
        "the certificate names no AS number, and this node runs BGP with its peers",
        certificate="one with an OU AS=<number>, or an AS identifier (RFC 3779)",
    ),
    Reason.MALFORMED_AS_NUMBER: Advice(
        "an AS number in the certificate cannot be read",
        certificate="one with a decimal number, such as AS=64512",
    ),
    Reason.SEVERAL_AS_NUMBERS: Advice(
        "the certificate names several AS numbers, and a BGP neighbor has only one",
        certificate="one with a single AS number",
    ),
    Reason.AS_NUMBER_RESERVED: Advice(
        "its AS number is reserved and may not be used (RFC 7607, 6793, 7300)",
        certificate="one with another AS number",
    ),
    Reason.IBGP_NOT_ALLOWED: Advice(
        "its AS number is this node's own, so the session would be iBGP",
        certificate="one with another AS number",
        policy="policy.allow_ibgp = true",
    ),
    Reason.AS_NUMBER_NOT_ALLOWED: Advice(
        "the policy does not allow its AS number",
        certificate="one with an allowed AS number",
        policy="policy.as_numbers",
    ),
    Reason.MALFORMED_PREFIX: Advice(
        "a prefix in the certificate cannot be read",
        certificate="one with every prefix written without host bits, such as NET=192.168.2.0/24",
    ),
    Reason.TOO_MANY_PREFIXES: Advice(
        "the certificate names more prefixes than the policy allows",
        certificate="one with fewer, larger prefixes",
        policy="policy.max_prefixes",
    ),
    Reason.PREFIX_NOT_ALLOWED: Advice(
        "a prefix in the certificate is outside the networks that peers may announce",
        certificate="one without this prefix",
        policy="policy.allowed_networks",
    ),
    Reason.PREFIX_FORBIDDEN: Advice(
        "a prefix in the certificate is, or overlaps, one that no peer may announce",
        certificate="one without this prefix",
        policy="policy.forbidden_networks, tunnel_networks and allow_default_route",
    ),
    Reason.PREFIX_TOO_LONG: Advice(
        "a prefix in the certificate is longer than the policy allows",
        certificate="one with a shorter prefix",
        policy="policy.max_prefix_length (max_prefix_length_ipv6)",
    ),
}

_OTHER_PEERS = {
    Reason.PROTOCOL_ADDRESS_CONFLICT: Advice(
        "another live peer has this protocol address",
        certificate="one with another address, for one of the two peers",
        policy='policy.on_conflict = "take_over" gives the address to the newer peer',
    ),
    Reason.PREFIX_CONFLICT: Advice(
        "another live peer has some of its prefixes",
        certificate="certificates without overlapping prefixes, for both peers",
        policy='policy.on_conflict: "share" lets routers of one site share prefixes, "take_over" gives them to the'
        " newer peer",
    ),
    Reason.NBMA_ADDRESS_CONFLICT: Advice(
        "another live peer has its NBMA address: both are behind one NAT address",
        otherwise="give one of them a public address, or a hub address of its own (docs/nat.md)",
    ),
    Reason.INTERNAL_ERROR: Advice(
        "the agent failed to judge the peer; this is a bug in the agent",
        otherwise="report it, with the log lines around it",
    ),
}

ADVICE: Mapping[Reason, Advice] = {
    **_QUESTION, **_AUTHENTICATION, **_CHAIN, **_RESOURCES, **_ADDRESS, **_ROUTING, **_OTHER_PEERS,
}  # fmt: skip
