"""The decision: may this binding be made, and what is its peer entitled to?

A pure function of the request, the operator's policy and the time. It goes through the rules one after another
and stops at the first that fails; every rule it looked at is kept, so that a decision can be explained. All
values are parsed and compared whole: ``GRE=10.0.0.1`` says nothing about 10.0.0.10.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.core.model import (
    Accept,
    Address,
    BadCertificate,
    BindingRequest,
    BindingType,
    Certificate,
    Check,
    Claim,
    Decision,
    Deny,
    Network,
    Peer,
    Reason,
    T_co,
)

#: What nhrpd binds because a peer asked or answered; the other types are its own bookkeeping.
PEER_BINDINGS = frozenset({BindingType.DYNAMIC, BindingType.CACHED, BindingType.NHS, BindingType.STATIC})

#: RFC 7607 (0), RFC 6793 (AS_TRANS), RFC 7300 (the last of 16 and of 32 bits).
RESERVED_AS_NUMBERS = frozenset({0, 23456, 65535, 4294967295})


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules over resources.

    ``tunnel_networks``: where protocol addresses must lie. ``allowed_networks``: where prefixes must lie; an empty
    tuple allows none. ``as_ranges``: AS numbers that peers may have, as inclusive ranges. ``needs_as_number``: the
    node runs BGP towards its peers, so each must have exactly one. ``allows_hosts``: addresses outside the tunnel
    networks are bound where they lie in a prefix of the peer; for spokes, whose nhrpd binds the hosts it has a
    shortcut to (FRR ``nhrp_shortcut_recv_resolution_rep``).
    """

    interface: str
    tunnel_networks: tuple[Network, ...]
    allowed_networks: tuple[Network, ...]
    as_ranges: tuple[tuple[int, int], ...]
    needs_as_number: bool
    allows_hosts: bool = False


def decide(request: BindingRequest, policy: Policy, now: datetime) -> Decision:
    """Decide on one binding at the time ``now`` (aware, UTC); nothing a peer can send makes it raise."""
    trail: list[Check] = []
    for check in _checks(request, policy, now):
        trail.append(check)
        if not check.passed:
            return Deny(check.reason, check.field, check.found, check.expected, tuple(trail))
    certificate = request.certificate
    if not isinstance(certificate, Certificate):  # the checks have seen to that; fail closed if ever they do not
        return Deny(Reason.INTERNAL_ERROR, "certificate", "unchecked", "a checked certificate", tuple(trail))
    is_peer = _in_tunnel(request.protocol_address, policy)
    return Accept(_peer(request, certificate) if is_peer else None, tuple(trail))


def _peer(request: BindingRequest, certificate: Certificate) -> Peer:
    return Peer(
        protocol_address=request.protocol_address,
        nbma_address=request.nbma_address,
        interface=request.interface,
        as_number=next(iter(_values(certificate.as_numbers)), None),
        prefixes=_values(certificate.prefixes),
        fingerprint=certificate.fingerprint,
        subject=certificate.subject,
        not_after=certificate.not_after,
    )


def _checks(request: BindingRequest, policy: Policy, now: datetime) -> Iterator[Check]:
    """Yield the rules in order; whoever resumes it after a failed one gets no sensible answer."""
    yield Check(
        Reason.UNKNOWN_INTERFACE, "interface", request.interface, policy.interface,
        request.interface == policy.interface,
    )  # fmt: skip
    yield Check(
        Reason.UNEXPECTED_BINDING_TYPE, "type", request.binding_type, _one_of(sorted(PEER_BINDINGS)),
        request.binding_type in PEER_BINDINGS,
    )  # fmt: skip
    certificate = request.certificate
    yield Check(
        Reason.NO_CERTIFICATE, "remote_cert", "present" if certificate else "empty",
        "the peer's certificate (under 2048 bytes: nhrpd keeps no larger one)", certificate is not None,
    )  # fmt: skip
    if not isinstance(certificate, Certificate):
        why = certificate.why if isinstance(certificate, BadCertificate) else "absent"
        yield Check(Reason.MALFORMED_CERTIFICATE, "remote_cert", why, "an X.509 certificate", False)
        return
    yield from _validity(certificate, now)
    if policy.allows_hosts and not _in_tunnel(request.protocol_address, policy):
        yield from _host(request.protocol_address, certificate.prefixes)
    else:
        yield from _protocol_address(request.protocol_address, certificate.protocol_addresses, policy)
    yield from _as_number(certificate.as_numbers, policy)
    yield from _prefixes(certificate.prefixes, policy)


def _validity(certificate: Certificate, now: datetime) -> Iterator[Check]:
    yield Check(
        Reason.CERTIFICATE_NOT_YET_VALID, "notBefore", certificate.not_before.isoformat(),
        f"at or before {now.isoformat(timespec='seconds')}", certificate.not_before <= now,
    )  # fmt: skip
    yield Check(
        Reason.CERTIFICATE_EXPIRED, "notAfter", certificate.not_after.isoformat(),
        f"at or after {now.isoformat(timespec='seconds')}", now <= certificate.not_after,
    )  # fmt: skip


def _protocol_address(address: Address, claims: tuple[Claim[Address], ...], policy: Policy) -> Iterator[Check]:
    yield Check(
        Reason.NO_PROTOCOL_ADDRESS, "OU GRE", _texts(claims) or "absent", "at least one GRE=<protocol address>",
        bool(claims),
    )  # fmt: skip
    yield from _well_formed(claims, Reason.MALFORMED_PROTOCOL_ADDRESS, "an IPv4 or IPv6 address")
    yield Check(
        Reason.PROTOCOL_ADDRESS_MISMATCH, "OU GRE", _texts(claims),
        f"the protocol address the peer registers: {address}", address in _values(claims),
    )  # fmt: skip
    yield Check(
        Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL, "protocol address", str(address),
        f"an address in {_one_of(policy.tunnel_networks)}", _in_tunnel(address, policy),
    )  # fmt: skip


def _in_tunnel(address: Address, policy: Policy) -> bool:
    return any(address in network for network in policy.tunnel_networks)


def _host(address: Address, claims: tuple[Claim[Network], ...]) -> Iterator[Check]:
    yield Check(
        Reason.HOST_OUTSIDE_PREFIXES, "OU NET", _texts(claims) or "absent", f"a prefix that has the host {address}",
        any(address in prefix for prefix in _values(claims)),
    )  # fmt: skip


def _as_number(claims: tuple[Claim[int], ...], policy: Policy) -> Iterator[Check]:
    if policy.needs_as_number:
        yield Check(Reason.NO_AS_NUMBER, "OU AS", _texts(claims) or "absent", "one AS=<number>", bool(claims))
    yield from _well_formed(claims, Reason.MALFORMED_AS_NUMBER, "a decimal number from 1 to 4294967294")
    yield Check(
        Reason.SEVERAL_AS_NUMBERS, "OU AS", _texts(claims) or "absent", "not more than one AS=<number>",
        len(claims) <= 1,
    )  # fmt: skip
    for claim, number in _pairs(claims):
        yield Check(
            Reason.AS_NUMBER_NOT_ALLOWED, claim.field, claim.text,
            f"an AS number in {_one_of(f'{low}-{high}' for low, high in policy.as_ranges)} that is not reserved",
            number not in RESERVED_AS_NUMBERS and any(low <= number <= high for low, high in policy.as_ranges),
        )  # fmt: skip


def _prefixes(claims: tuple[Claim[Network], ...], policy: Policy) -> Iterator[Check]:
    yield from _well_formed(claims, Reason.MALFORMED_PREFIX, "a prefix without host bits, as 192.0.2.0/24")
    for claim, prefix in _pairs(claims):
        yield Check(
            Reason.PREFIX_NOT_ALLOWED, claim.field, claim.text,
            f"a prefix inside {_one_of(policy.allowed_networks)} and outside the tunnel networks",
            any(_inside(prefix, network) for network in policy.allowed_networks)
            and not any(prefix.overlaps(network) for network in policy.tunnel_networks),
        )  # fmt: skip


def _inside(prefix: Network, network: Network) -> bool:
    return prefix.version == network.version and prefix.subnet_of(network)  # type: ignore[arg-type]


def _well_formed(claims: Iterable[Claim[object]], reason: Reason, expected: str) -> Iterator[Check]:
    for claim in claims:
        yield Check(reason, claim.field, claim.text, expected, claim.value is not None)


def _pairs(claims: Iterable[Claim[T_co]]) -> Iterator[tuple[Claim[T_co], T_co]]:
    for claim in claims:
        if claim.value is not None:
            yield claim, claim.value


def _values(claims: Iterable[Claim[T_co]]) -> tuple[T_co, ...]:
    return tuple(value for _, value in _pairs(claims))


def _texts(claims: Iterable[Claim[object]]) -> str:
    return ", ".join(claim.text for claim in claims)


def _one_of(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values) or "(none is allowed)"
