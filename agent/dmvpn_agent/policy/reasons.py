"""Why a binding is denied: a closed list, in the order in which the Judge applies the rules.

The first rule that fails denies. A test compares this order with the Judge's.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a binding is denied. The list is closed: it is also a metric's label."""

    #: The event does not parse; the Judge does not see it.
    MALFORMED_EVENT = "malformed_event"

    # Authentication, at every decision. The question:
    UNKNOWN_INTERFACE = "unknown_interface"
    UNEXPECTED_BINDING_TYPE = "unexpected_binding_type"
    # the certificate, or a [[policy.peer]] in its place:
    NO_CERTIFICATE = "no_certificate"
    MALFORMED_CERTIFICATE = "malformed_certificate"
    DENIED_BY_MAINTENANCE = "denied_by_maintenance"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_EXPIRED = "certificate_expired"
    # its chain, its CRLs and its RFC 3779 resources:
    UNTRUSTED_ISSUER = "untrusted_issuer"
    ISSUER_NOT_VALID = "issuer_not_valid"
    CERTIFICATE_REVOKED = "certificate_revoked"
    ISSUER_REVOKED = "issuer_revoked"
    REVOCATION_UNKNOWN = "revocation_unknown"
    RESOURCES_EXCEED_ISSUER = "resources_exceed_issuer"
    # the peer's IKE_SA:
    CERTIFICATE_UNCONFIRMED = "certificate_unconfirmed"
    CERTIFICATE_AWAITED = "certificate_awaited"

    # Authorization, once for each certificate and address. Names and resources:
    ISSUER_NOT_ALLOWED = "issuer_not_allowed"
    SUBJECT_NOT_ALLOWED = "subject_not_allowed"
    SOURCES_DISAGREE = "sources_disagree"
    INHERITANCE_UNRESOLVED = "inheritance_unresolved"
    MALFORMED_ROLE = "malformed_role"
    ROLE_NOT_ALLOWED = "role_not_allowed"
    NO_PROTOCOL_ADDRESS = "no_protocol_address"
    MALFORMED_PROTOCOL_ADDRESS = "malformed_protocol_address"
    TOO_MANY_PROTOCOL_ADDRESSES = "too_many_protocol_addresses"
    # the requested address:
    HOST_OUTSIDE_PREFIXES = "host_outside_prefixes"
    PROTOCOL_ADDRESS_MISMATCH = "protocol_address_mismatch"
    PROTOCOL_ADDRESS_OUTSIDE_TUNNEL = "protocol_address_outside_tunnel"
    PROTOCOL_ADDRESS_RESERVED = "protocol_address_reserved"
    # BGP:
    NO_AS_NUMBER = "no_as_number"
    MALFORMED_AS_NUMBER = "malformed_as_number"
    SEVERAL_AS_NUMBERS = "several_as_numbers"
    AS_NUMBER_RESERVED = "as_number_reserved"
    IBGP_NOT_ALLOWED = "ibgp_not_allowed"
    AS_NUMBER_NOT_ALLOWED = "as_number_not_allowed"
    MALFORMED_PREFIX = "malformed_prefix"
    TOO_MANY_PREFIXES = "too_many_prefixes"
    PREFIX_NOT_ALLOWED = "prefix_not_allowed"
    PREFIX_FORBIDDEN = "prefix_forbidden"
    PREFIX_TOO_LONG = "prefix_too_long"

    # Other live peers.
    PROTOCOL_ADDRESS_CONFLICT = "protocol_address_conflict"
    PREFIX_CONFLICT = "prefix_conflict"
    NBMA_ADDRESS_CONFLICT = "nbma_address_conflict"

    #: The agent failed.
    INTERNAL_ERROR = "internal_error"


#: Denials because another live peer holds an address or a prefix.
CONFLICTS = frozenset({Reason.PROTOCOL_ADDRESS_CONFLICT, Reason.PREFIX_CONFLICT, Reason.NBMA_ADDRESS_CONFLICT})

#: The rules about the requested address; the result of every other rule is the same for all addresses.
ADDRESS_REASONS = frozenset(
    {
        Reason.HOST_OUTSIDE_PREFIXES,
        Reason.PROTOCOL_ADDRESS_MISMATCH,
        Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL,
        Reason.PROTOCOL_ADDRESS_RESERVED,
    }
)
