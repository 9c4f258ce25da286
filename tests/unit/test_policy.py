"""The decision on one binding, rule by rule."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from dmvpn_agent.core.model import Accept, BadCertificate, BindingRequest, BindingType, Deny, Peer, Reason
from dmvpn_agent.core.policy import PEER_BINDINGS, Policy, decide
from factories import ADDRESS, NBMA, NOW, POLICY, UNITS, YEAR, certificate, request

GRE, AS, NET = UNITS

SPOKE_POLICY = replace(POLICY, needs_as_number=False, allows_hosts=True)
HOST = ip_address("192.168.2.7")


def _deny(wanted: BindingRequest, policy: Policy = POLICY) -> Deny:
    decision = decide(wanted, policy, NOW)
    assert isinstance(decision, Deny), decision
    return decision


DENIED = [
    # what is asked; reason, field, found
    (request(interface="gre2"), "unknown_interface", "interface", "gre2"),
    (request(binding_type=BindingType.LOCAL), "unexpected_binding_type", "type", "local"),
    (request(certificate=None), "no_certificate", "remote_cert", "empty"),
    (request(certificate=BadCertificate("cut off")), "malformed_certificate", "remote_cert", "cut off"),
    (request(certificate=certificate(not_before=NOW + timedelta(seconds=1))),
     "certificate_not_yet_valid", "notBefore", "2026-03-01T12:00:01+00:00"),
    (request(certificate=certificate(not_after=NOW - timedelta(seconds=1))),
     "certificate_expired", "notAfter", "2026-03-01T11:59:59+00:00"),
    (request(AS, NET), "no_protocol_address", "OU GRE", "absent"),
    (request("GRE=hub", AS), "malformed_protocol_address", "OU GRE", "GRE=hub"),
    (request(GRE, "GRE=hub", AS), "malformed_protocol_address", "OU GRE", "GRE=hub"),
    (request("GRE=10.255.0.20", AS), "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.20"),
    (request("GRE=10.255.0.3", "GRE=10.255.0.4", AS),
     "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.3, GRE=10.255.0.4"),
    (request("GRE=10.254.0.2", AS, protocol_address=ip_address("10.254.0.2")),
     "protocol_address_outside_tunnel", "protocol address", "10.254.0.2"),
    (request(GRE, NET), "no_as_number", "OU AS", "absent"),
    (request(GRE, "AS=64512 "), "malformed_as_number", "OU AS", "AS=64512 "),
    (request(GRE, "AS=0"), "malformed_as_number", "OU AS", "AS=0"),
    (request(GRE, "AS=064512"), "malformed_as_number", "OU AS", "AS=064512"),
    (request(GRE, "AS=4294967295"), "malformed_as_number", "OU AS", "AS=4294967295"),
    (request(GRE, "AS=64512", "AS=64513"), "several_as_numbers", "OU AS", "AS=64512, AS=64513"),
    (request(GRE, "AS=64512", "AS=64512"), "several_as_numbers", "OU AS", "AS=64512, AS=64512"),
    (request(GRE, "AS=3320"), "as_number_not_allowed", "OU AS", "AS=3320"),
    (request(GRE, AS, "NET=192.168.2.1/24"), "malformed_prefix", "OU NET", "NET=192.168.2.1/24"),
    (request(GRE, AS, "NET=192.168.2.0"), "malformed_prefix", "OU NET", "NET=192.168.2.0"),
    (request(GRE, AS, "NET=lan"), "malformed_prefix", "OU NET", "NET=lan"),
    (request(GRE, AS, NET, "NET=10.0.0.0/24"), "prefix_not_allowed", "OU NET", "NET=10.0.0.0/24"),
    (request(GRE, AS, "NET=0.0.0.0/0"), "prefix_not_allowed", "OU NET", "NET=0.0.0.0/0"),
    (request(GRE, AS, "NET=192.168.0.0/15"), "prefix_not_allowed", "OU NET", "NET=192.168.0.0/15"),
    (request(GRE, AS, "NET=192.0.0.0/8"), "prefix_not_allowed", "OU NET", "NET=192.0.0.0/8"),
    (request(GRE, AS, "NET=2001:db8::/64"), "prefix_not_allowed", "OU NET", "NET=2001:db8::/64"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "reason", "field", "found"), DENIED, ids=lambda value: str(value)[:40])
def test_a_rule_that_fails_denies_and_says_why(asked: BindingRequest, reason: str, field: str, found: str) -> None:
    """The reason, the place and the value that failed are named; what is expected is never empty."""
    denied = _deny(asked)
    assert (denied.reason, denied.field, denied.found) == (reason, field, found)
    assert denied.expected


def test_every_reason_of_the_policy_has_a_row() -> None:
    """No rule is without a test; two reasons are the authorizer's, and one is a spoke's."""
    tested = {reason for _, reason, _, _ in DENIED}
    assert tested == {*Reason} - {Reason.MALFORMED_EVENT, Reason.INTERNAL_ERROR, Reason.HOST_OUTSIDE_PREFIXES}


def _peer(wanted: BindingRequest, policy: Policy = POLICY) -> Peer:
    decision = decide(wanted, policy, NOW)
    assert isinstance(decision, Accept), decision
    assert decision.peer is not None
    return decision.peer


def test_a_spoke_accepts_a_host_in_a_prefix_of_its_peer() -> None:
    """nhrpd binds the host it has a shortcut to as well; that makes nobody a peer."""
    decision = decide(request(protocol_address=HOST), SPOKE_POLICY, NOW)
    assert isinstance(decision, Accept)
    assert decision.peer is None


def test_a_spoke_denies_a_host_outside_its_peers_prefixes() -> None:
    """A peer can have no traffic of a host drawn to it that is not its own."""
    denied = _deny(request(protocol_address=ip_address("192.168.3.7")), SPOKE_POLICY)
    assert (denied.reason, denied.found) == (Reason.HOST_OUTSIDE_PREFIXES, "NET=192.168.2.0/24")


def test_a_hub_makes_no_binding_for_a_host() -> None:
    """What registers at a hub is a protocol address, even if the host lies in the peer's prefix."""
    assert _deny(request(protocol_address=HOST)).reason is Reason.PROTOCOL_ADDRESS_MISMATCH


def test_a_certificate_in_order_is_accepted() -> None:
    """An accept carries the binding and what the certificate entitles to."""
    peer = _peer(request())
    assert (peer.protocol_address, peer.nbma_address, peer.as_number) == (ADDRESS, NBMA, 64512)
    assert peer.prefixes == (ip_network("192.168.2.0/24"),)
    assert peer.fingerprint == certificate().fingerprint


def test_any_of_several_protocol_addresses_may_be_registered() -> None:
    """A certificate may name many addresses."""
    assert isinstance(decide(request("GRE=10.255.0.3", GRE, AS), POLICY, NOW), Accept)


def test_a_certificate_without_prefixes_is_accepted() -> None:
    """A peer may have nothing to announce."""
    assert _peer(request(GRE, AS)).prefixes == ()


def test_a_node_without_bgp_needs_no_as_number() -> None:
    """A spoke that only checks certificates asks for no AS."""
    assert _peer(request(GRE), SPOKE_POLICY).as_number is None


def test_an_as_number_that_nobody_needs_is_still_checked() -> None:
    """What a certificate says must be sound even where it is not used."""
    assert _deny(request(GRE, "AS=x"), SPOKE_POLICY).reason is Reason.MALFORMED_AS_NUMBER


def test_reserved_as_numbers_are_denied_whatever_the_policy_allows() -> None:
    """AS_TRANS and the last of 16 bits belong to nobody."""
    everything = replace(POLICY, as_ranges=((1, 4294967295),))
    assert _deny(request(GRE, "AS=23456"), everything).reason is Reason.AS_NUMBER_NOT_ALLOWED
    assert _deny(request(GRE, "AS=65535"), everything).reason is Reason.AS_NUMBER_NOT_ALLOWED


def test_a_prefix_may_not_reach_into_the_tunnel() -> None:
    """Whoever announced part of the tunnel network would take other peers' traffic."""
    everything = replace(POLICY, allowed_networks=(ip_network("0.0.0.0/0"),))
    for net in ("NET=10.255.0.128/25", "NET=10.0.0.0/8", "NET=0.0.0.0/0"):
        assert _deny(request(GRE, AS, net), everything).reason is Reason.PREFIX_NOT_ALLOWED


def test_an_empty_list_of_networks_allows_none() -> None:
    """No allowed network means no prefix, not every prefix; the text says so."""
    nothing = replace(POLICY, allowed_networks=())
    assert "none is allowed" in _deny(request(), nothing).expected


@pytest.mark.parametrize("kind", sorted(PEER_BINDINGS))
def test_what_peers_cause_may_be_bound(kind: BindingType) -> None:
    """Hubs, spokes and shortcuts arrive as different types, all decided alike."""
    assert isinstance(decide(request(binding_type=kind), POLICY, NOW), Accept)


@pytest.mark.parametrize("moment", [NOW - YEAR, NOW + YEAR])
def test_the_ends_of_the_validity_are_valid(moment: object) -> None:
    """RFC 5280 4.1.2.5: the period is inclusive."""
    assert isinstance(decide(request(), POLICY, moment), Accept)  # type: ignore[arg-type]


def test_an_ipv6_protocol_address_is_decided_alike() -> None:
    """Addresses of both families go through the same rules."""
    policy = replace(POLICY, tunnel_networks=(*POLICY.tunnel_networks, ip_network("2001:db8::/64")))
    asked = request("GRE=2001:db8::2", AS, protocol_address=ip_address("2001:db8::2"))
    assert isinstance(decide(asked, policy, NOW), Accept)


def test_the_checks_tell_how_far_it_got() -> None:
    """A denial keeps the rules that passed and the one that failed; an accept only passed ones."""
    denied = _deny(request(GRE, "AS=3320"))
    assert [check.passed for check in denied.checks[:-1]] == [True] * (len(denied.checks) - 1)
    assert not denied.checks[-1].passed
    assert "as_number_not_allowed: OU AS is AS=3320" in str(denied)
    accepted = decide(request(), POLICY, NOW)
    assert accepted.checks
    assert all(check.passed for check in accepted.checks)
