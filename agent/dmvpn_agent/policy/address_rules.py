"""The rules about the requested address: a protocol address of the peer itself, or a host behind it."""

from collections.abc import Iterable, Iterator

from dmvpn_agent.addresses import Address, Network, contains
from dmvpn_agent.policy.authorization_rules import Authorization
from dmvpn_agent.policy.check import Check, CommaList, OrList
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Rules


def requested_address_checks(
    address: Address, own: frozenset[Address], rules: Rules, authorized: Authorization
) -> Iterator[Check]:
    """Yield the checks of the requested address in their order; ``own`` are addresses of this node."""
    if rules.allows_hosts and not contains(rules.tunnel_networks, address):
        yield from _host_checks(address, own, rules, authorized)
        return
    yield Check(Reason.PROTOCOL_ADDRESS_MISMATCH, address in authorized.protocol_addresses,
                authorized.address_field, authorized.address_text, "the requested protocol address, ",
                address)  # fmt: skip
    yield from tunnel_address_checks(address, own, rules)


def tunnel_address_checks(address: Address, own: frozenset[Address], rules: Rules) -> Iterator[Check]:
    """Yield whether a peer on this interface may have this protocol address at all."""
    yield Check(Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL, contains(rules.tunnel_networks, address), "protocol address",
                address, "an address in ", OrList(rules.tunnel_networks))  # fmt: skip
    why = why_reserved(address, rules.tunnel_networks, own)
    yield Check(Reason.PROTOCOL_ADDRESS_RESERVED, not why, "protocol address", address,
                "an address that is not reserved", f": this is {why}" if why else "")  # fmt: skip


def why_reserved(address: Address, networks: Iterable[Network], own: frozenset[Address]) -> str:
    """Return what a protocol address is that no peer may have; empty if a peer may have it.

    The first address of a network is the network's (RFC 4291, section 2.6.1, for IPv6), the last one of an IPv4
    network its broadcast address; networks of one or two addresses have neither (RFC 3021, RFC 6164).
    """
    if address in own:
        return "an address of this node"
    for network in networks:
        if address not in network or network.max_prefixlen - network.prefixlen < 2:
            continue
        if address == network.network_address:
            return f"the {'network' if network.version == 4 else 'subnet-router anycast'} address of {network}"
        if network.version == 4 and address == network.broadcast_address:
            return f"the broadcast address of {network}"
    return ""


def _host_checks(host: Address, own: frozenset[Address], rules: Rules, authorized: Authorization) -> Iterator[Check]:
    # The blocks of a transit peer may exceed the allowed networks; what it may announce may not.
    transit = authorized.transit_blocks if contains(rules.allowed_networks, host) else ()
    behind = (*authorized.prefixes, *transit)
    held = contains(behind, host) and not contains(rules.forbidden_networks, host)
    yield Check(Reason.HOST_OUTSIDE_PREFIXES, held, "prefixes", CommaList(behind),
                "a prefix with the requested host, not forbidden by the policy: ", host)  # fmt: skip
    possible = any(
        contains(rules.tunnel_networks, one) and not why_reserved(one, rules.tunnel_networks, own)
        for one in authorized.protocol_addresses
    )
    yield Check(Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL, possible, authorized.address_field, authorized.address_text,
                "a protocol address of the peer itself in ", OrList(rules.tunnel_networks))  # fmt: skip
