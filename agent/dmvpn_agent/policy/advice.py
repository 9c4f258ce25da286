"""Each reason for a denial in plain words: what it means, and what would have to change.

What is advised is for the operator to judge: that something could be accepted does not mean that it should be.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dmvpn_agent.policy.reasons import Reason


class Advice(NamedTuple):
    """What a reason means.

    ``because`` completes «denied because …». ``certificate``: what another certificate would have to say. ``policy``:
    which keys of the configuration decide. ``otherwise``: what else can be done. Empty where nothing helps.
    """

    because: str
    certificate: str = ""
    policy: str = ""
    otherwise: str = ""

    @property
    def remedies(self) -> tuple[str, ...]:
        """Return what would have to change, one thing or the other."""
        parts = (("certificate", self.certificate), ("configuration", self.policy), ("otherwise", self.otherwise))
        return tuple(f"{name}: {text}" for name, text in parts if text)


ADVICE: Mapping[Reason, Advice] = {
    Reason.MALFORMED_EVENT: Advice(
        "nhrpd writes no such event",
        otherwise="look at who writes to the event socket; FRR 8.4 to 10.6 are known",
    ),
    Reason.UNKNOWN_INTERFACE: Advice(
        "the policy has no rules for this interface",
        policy="nhrp.interfaces, with the profile of the interface; its own rules in [policy.interfaces.<name>]",
    ),
    Reason.UNEXPECTED_BINDING_TYPE: Advice(
        "a binding of this type is nhrpd's own bookkeeping, and no peer asks for it",
    ),
    Reason.NO_CERTIFICATE: Advice(
        "neither nhrpd nor its IKE_SA showed the peer's certificate, and no row of the static table is for it",
        certificate="one that charon's identity of the peer is the subject or a subjectAltName of",
        policy="a [[policy.peer]] for the peer's IKE identity, for one that authenticates with a shared key",
    ),
    Reason.MALFORMED_CERTIFICATE: Advice(
        "the certificate cannot be read",
        certificate="a new one; `openssl x509 -text` shows how far this one goes",
    ),
    Reason.DENIED_BY_MAINTENANCE: Advice(
        "an operator has barred this peer",
        policy="the [[policy.maintenance]] that names the peer",
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Advice(
        "the certificate is not valid yet",
        certificate="one that is valid now, or wait",
        otherwise="look at this node's clock",
    ),
    Reason.CERTIFICATE_EXPIRED: Advice(
        "the certificate has expired",
        certificate="a renewed one",
        otherwise="look at this node's clock",
    ),
    Reason.UNTRUSTED_ISSUER: Advice(
        "no chain of valid signatures leads from it to a CA in policy.ca_certificates",
        certificate="one that such a CA issued, signed with SHA-256 or better",
        policy="policy.ca_certificates; intermediate CAs belong there too",
    ),
    Reason.ISSUER_NOT_VALID: Advice(
        "the certificate of a CA above it has expired, or is not valid yet",
        policy="policy.ca_certificates, with the CA's renewed certificate",
        otherwise="look at this node's clock",
    ),
    Reason.ISSUER_REVOKED: Advice(
        "a CA above it is revoked",
        certificate="one of another CA",
        otherwise="where the CA was revoked by mistake, a CRL without it",
    ),
    Reason.RESOURCES_EXCEED_ISSUER: Advice(
        "the certificate, or a CA above it, names more address blocks or AS numbers than its issuer holds (RFC 3779)",
        certificate="one that names only what the issuer holds",
        policy="policy.allow_overclaim, with the name of that issuer",
    ),
    Reason.REVOCATION_UNKNOWN: Advice(
        "it cannot be told whether the certificate, or a CA above it, is revoked: no CRL of its issuer is known that"
        " is not outdated",
        policy="policy.crls names the files with the CRLs; policy.require_crl asks for one",
        otherwise="have the CA publish a new CRL",
    ),
    Reason.CERTIFICATE_REVOKED: Advice(
        "the certificate is revoked",
        certificate="a new one, with another serial number",
        otherwise="where it was revoked by mistake, a CRL without it",
    ),
    Reason.CERTIFICATE_UNCONFIRMED: Advice(
        "nobody who has an IKE_SA with the NBMA address has authenticated with this certificate;"
        " nhrpd cannot tell apart two peers behind one NBMA address",
        certificate="one whose subject or subjectAltName is the peer's IKE identity",
        policy="policy.confirm_certificates turns the comparison off",
        otherwise="give the peers an NBMA address each",
    ),
    Reason.ISSUER_NOT_ALLOWED: Advice(
        "the policy does not allow its issuer",
        certificate="one of an issuer that is allowed",
        policy="policy.issuers",
    ),
    Reason.SUBJECT_NOT_ALLOWED: Advice(
        "the policy does not allow its subject",
        certificate="one with a subject that is allowed",
        policy="policy.subjects",
    ),
    Reason.SOURCES_DISAGREE: Advice(
        "two places in the certificate name different resources, and the policy asks that they agree",
        certificate="one that says the same in both places",
        policy="policy.sources: combine, or an order without one of the two",
    ),
    Reason.INHERITANCE_UNRESOLVED: Advice(
        "the certificate leaves resources to its issuer's certificate, which is not known or does not name them",
        certificate="one that names its prefixes and AS number itself",
        policy="policy.ca_certificates with the issuer's certificate",
    ),
    Reason.MALFORMED_ROLE: Advice(
        "whether the peer is a hub cannot be read",
        certificate="one with a DER BOOLEAN in extension 1.3.6.1.4.1.31536.1.1, or without that extension",
    ),
    Reason.ROLE_NOT_ALLOWED: Advice(
        "a peer of this kind may not join here",
        certificate="a hub's, if the peer is one: OU=Hubs or dmvpn-ca's extension, and nothing that says otherwise",
        policy="allowed or require_hub_role in [policy.hub], [policy.spoke] or [policy.shortcut]",
    ),
    Reason.NO_PROTOCOL_ADDRESS: Advice(
        "nothing in the certificate that counts names a protocol address",
        certificate="one with an OU GRE=<protocol address> or an IP address as subjectAltName",
        policy="policy.sources.order, where the certificate names one in a place that does not count",
    ),
    Reason.MALFORMED_PROTOCOL_ADDRESS: Advice(
        "a protocol address in the certificate cannot be read",
        certificate="one in which every address is written as 10.255.0.2 or 2001:db8::2",
    ),
    Reason.TOO_MANY_PROTOCOL_ADDRESSES: Advice(
        "the certificate names more protocol addresses than the policy allows",
        certificate="one with fewer",
        policy="policy.max_protocol_addresses",
    ),
    Reason.PROTOCOL_ADDRESS_MISMATCH: Advice(
        "the certificate does not name the protocol address that is asked for",
        certificate="one that names this address too, if it is this peer's",
        otherwise="configure the peer with the protocol address that its certificate names",
    ),
    Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL: Advice(
        "the protocol address lies outside the tunnel networks",
        certificate="one with an address in them",
        policy="policy.tunnel_networks",
    ),
    Reason.PROTOCOL_ADDRESS_RESERVED: Advice(
        "the protocol address can be no peer's: it is this node's own, or the first or last one of a tunnel network",
        certificate="one with another address",
        policy="policy.tunnel_networks, if it does not name the networks as the tunnel interfaces have them",
    ),
    Reason.PROTOCOL_ADDRESS_CONFLICT: Advice(
        "another live peer has this protocol address",
        certificate="one with another address, for one of the two",
        policy='policy.on_conflict = "take_over" gives it to the newer',
    ),
    Reason.HOST_OUTSIDE_PREFIXES: Advice(
        "the host lies in no prefix that its peer may have",
        certificate="one with a prefix that has the host",
        policy="policy.forbidden_networks, if the host lies in one of them",
    ),
    Reason.NO_AS_NUMBER: Advice(
        "the certificate names no AS number, and this node runs BGP with its peers",
        certificate="one with an OU AS=<number>, or an AS identifier (RFC 3779)",
    ),
    Reason.SEVERAL_AS_NUMBERS: Advice(
        "the certificate names several AS numbers, and a BGP neighbor has one",
        certificate="one with just one",
    ),
    Reason.MALFORMED_AS_NUMBER: Advice(
        "an AS number in the certificate cannot be read",
        certificate="one with a decimal number, as AS=64512",
    ),
    Reason.AS_NUMBER_RESERVED: Advice(
        "its AS number is reserved for no network (RFC 7607, 6793, 7300)",
        certificate="one with another AS number",
    ),
    Reason.AS_NUMBER_NOT_ALLOWED: Advice(
        "the policy does not allow its AS number",
        certificate="one with an AS number that is allowed",
        policy="policy.as_numbers",
    ),
    Reason.IBGP_NOT_ALLOWED: Advice(
        "its AS number is this node's own, which would make the session iBGP",
        certificate="one with an AS number of its own",
        policy="policy.allow_ibgp",
    ),
    Reason.MALFORMED_PREFIX: Advice(
        "a prefix in the certificate cannot be read",
        certificate="one in which every prefix is written without host bits, as NET=192.168.2.0/24",
    ),
    Reason.TOO_MANY_PREFIXES: Advice(
        "the certificate names more prefixes than the policy allows",
        certificate="one with fewer, larger ones",
        policy="policy.max_prefixes",
    ),
    Reason.PREFIX_TOO_LONG: Advice(
        "a prefix of the certificate is longer than the policy allows",
        certificate="one with a shorter prefix",
        policy="policy.max_prefix_length (max_prefix_length_ipv6)",
    ),
    Reason.PREFIX_FORBIDDEN: Advice(
        "a prefix of the certificate is or overlaps one that no peer may have",
        certificate="one without it",
        policy="policy.forbidden_networks, tunnel_networks and allow_default_route",
    ),
    Reason.PREFIX_NOT_ALLOWED: Advice(
        "a prefix of the certificate lies outside the networks that peers may announce",
        certificate="one without it",
        policy="policy.allowed_networks",
    ),
    Reason.PREFIX_CONFLICT: Advice(
        "another live peer has part of its prefixes",
        certificate="ones that do not overlap, for both peers",
        policy='policy.on_conflict: "share" lets routers of one site have them, "take_over" gives them to the newer',
    ),
    Reason.NBMA_ADDRESS_CONFLICT: Advice(
        "another live peer has its NBMA address: both are behind one NAT address",
        otherwise="give one of them a public address or a hub address of its own (docs/nat.md)",
    ),
    Reason.INTERNAL_ERROR: Advice(
        "the agent failed to judge it, which is a fault of the agent",
        otherwise="report it, with the log around it",
    ),
}
