"""Decisions on one binding: every rule, and their order."""

from datetime import timedelta
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

import pytest

from deciding import AS, AWAITED, EVERYTHING, GRE, NET, SPOKE_POLICY, STRANGER, denial_of, named, net, peer_of, rules
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Action, Combination, Maintenance, Policy
from dmvpn_agent.x509.certificate import BadCertificate, Claim, Inheritable, Source
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NBMA, NOW, POLICY, certificate, decide, policy, request

DENIED = [
    # request, policy; reason, field, found
    (request(interface="gre2"), POLICY, "unknown_interface", "interface", "gre2"),
    (request(binding_type=BindingType.LOCAL), POLICY, "unexpected_binding_type", "type", "local"),
    (request(certificate=None), POLICY, "no_certificate", "remote_cert", "empty"),
    (request(certificate=BadCertificate("cut off")), POLICY, "malformed_certificate", "remote_cert", "cut off"),
    (request(), policy(maintenance=(Maintenance(Action.DENY, identity="*CN=spoke1"),)),
     "denied_by_maintenance", "maintenance", "deny of identity *CN=spoke1"),
    (request(), policy(maintenance=(Maintenance(Action.DENY, serial=certificate().serial),)),
     "denied_by_maintenance", "maintenance", f"deny of serial {certificate().serial:x}"),
    (request(certificate=certificate(not_before=NOW + timedelta(seconds=1))), POLICY,
     "certificate_not_yet_valid", "notBefore", "2026-03-01 12:00:01+00:00"),
    (request(certificate=certificate(not_after=NOW - timedelta(seconds=1))), POLICY,
     "certificate_expired", "notAfter", "2026-03-01 11:59:59+00:00"),
    (request(), policy(requires_crl=True), "revocation_unknown", "CRL", "none"),
    (request(ike_peers=frozenset({STRANGER})), POLICY, "certificate_unconfirmed", "certificate",
     "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"),
    (request(ike_peers=frozenset({AWAITED})), POLICY, "certificate_awaited", "certificate",
     "not known of the IKE_SA with 203.0.113.2"),
    (request(), rules(issuers=("CN=another CA",)), "issuer_not_allowed", "issuer", "CN=test CA"),
    (request(), rules(subjects=("*CN=hub*",)), "subject_not_allowed", "subject",
     certificate().subject_rfc4514),
    (named(Source.RFC3779, prefixes=(net("192.168.3.0/24"),)), policy(combination=Combination.AGREE),
     "sources_disagree", "IPAddrBlocks", "192.168.3.0/24"),
    (named(Source.RFC3779, GRE, AS, inherits=frozenset({Inheritable.IPV4})), POLICY,
     "inheritance_unresolved", "IPAddrBlocks and ASIdentifiers", "inherit: ipv4"),
    (named(Source.DMVPN_CA, roles=(Claim("dmvpn-ca hub", "ff", None),)), POLICY,
     "malformed_role", "dmvpn-ca hub", "ff"),
    (request(), rules(allowed=False), "role_not_allowed", "kind of peer", "spoke"),
    (request(), rules(requires_hub_role=True), "role_not_allowed", "role", "absent"),
    (request(AS, NET), POLICY, "no_protocol_address", "OU GRE", "absent"),
    (request("GRE=hub", AS), POLICY, "malformed_protocol_address", "OU GRE", "GRE=hub"),
    (request(GRE, "GRE=hub", AS), POLICY, "malformed_protocol_address", "OU GRE", "GRE=hub"),
    (request(GRE, "GRE=10.255.0.3", AS), rules(max_protocol_addresses=1),
     "too_many_protocol_addresses", "OU GRE", "2 in total"),
    (request("GRE=10.255.0.20", AS), POLICY, "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.20"),
    (request("GRE=10.255.0.3", "GRE=10.255.0.4", AS), POLICY,
     "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.3, GRE=10.255.0.4"),
    (request("GRE=10.254.0.2", AS, protocol_address=ip_address("10.254.0.2")), POLICY,
     "protocol_address_outside_tunnel", "protocol address", "10.254.0.2"),
    (request("GRE=10.255.0.0", AS, protocol_address=ip_address("10.255.0.0")), POLICY,
     "protocol_address_reserved", "protocol address", "10.255.0.0"),
    (request("GRE=10.255.0.255", AS, protocol_address=ip_address("10.255.0.255")), POLICY,
     "protocol_address_reserved", "protocol address", "10.255.0.255"),
    (request(local_addresses=frozenset({ADDRESS})), POLICY,
     "protocol_address_reserved", "protocol address", "10.255.0.2"),
    (request("GRE=2001:db8::", AS, protocol_address=ip_address("2001:db8::")),
     rules(tunnel_networks=(ip_network("2001:db8::/64"),)),
     "protocol_address_reserved", "protocol address", "2001:db8::"),
    (request(protocol_address=ip_address("192.168.3.7")), SPOKE_POLICY,
     "host_outside_prefixes", "prefixes", "192.168.2.0/24"),
    (request(GRE, NET), POLICY, "no_as_number", "OU AS", "absent"),
    (request(GRE, "AS=64512 "), POLICY, "malformed_as_number", "OU AS", '"AS=64512 "'),
    (request(GRE, "AS=0"), POLICY, "malformed_as_number", "OU AS", "AS=0"),
    (request(GRE, "AS=064512"), POLICY, "malformed_as_number", "OU AS", "AS=064512"),
    (request(GRE, "AS=64512", "AS=64513"), POLICY, "several_as_numbers", "OU AS", "AS=64512, AS=64513"),
    (request(GRE, "AS=64512", "AS=64512"), POLICY, "several_as_numbers", "OU AS", "AS=64512, AS=64512"),
    (named(Source.RFC3779, GRE, as_numbers=(Claim("ASIdentifiers", "64512-64600", AsRange(64512, 64600)),)), POLICY,
     "several_as_numbers", "ASIdentifiers", "64512-64600"),
    (request(GRE, "AS=23456"), rules(as_ranges=(AsRange(1, 4294967295),)), "as_number_reserved", "OU AS", "AS=23456"),
    (request(GRE, "AS=65535"), rules(as_ranges=(AsRange(1, 4294967295),)), "as_number_reserved", "OU AS", "AS=65535"),
    (request(GRE, "AS=4294967295"), POLICY, "as_number_reserved", "OU AS", "AS=4294967295"),
    (request(GRE, "AS=3320"), POLICY, "as_number_not_allowed", "OU AS", "AS=3320"),
    (request(GRE, "AS=65000"), POLICY, "ibgp_not_allowed", "OU AS", "AS=65000"),
    (request(GRE, AS, "NET=192.168.2.1/24"), POLICY, "malformed_prefix", "OU NET", "NET=192.168.2.1/24"),
    (request(GRE, AS, "NET=192.168.2.0"), POLICY, "malformed_prefix", "OU NET", "NET=192.168.2.0"),
    (request(GRE, AS, "NET=lan"), POLICY, "malformed_prefix", "OU NET", "NET=lan"),
    (request(GRE, AS, NET, "NET=192.168.3.0/24"), rules(max_prefixes=1), "too_many_prefixes", "OU NET", "2 in total"),
    (request(GRE, AS, "NET=192.168.2.0/27"), POLICY, "prefix_too_long", "OU NET", "NET=192.168.2.0/27"),
    (request(GRE, AS, NET, "NET=10.0.0.0/24"), POLICY, "prefix_not_allowed", "OU NET", "NET=10.0.0.0/24"),
    (request(GRE, AS, "NET=0.0.0.0/0"), POLICY, "prefix_not_allowed", "OU NET", "NET=0.0.0.0/0"),
    (request(GRE, AS, "NET=192.168.0.0/15"), POLICY, "prefix_not_allowed", "OU NET", "NET=192.168.0.0/15"),
    (request(GRE, AS, "NET=2001:db8::/64"), POLICY, "prefix_not_allowed", "OU NET", "NET=2001:db8::/64"),
    (request(GRE, AS, "NET=0.0.0.0/0"), policy(EVERYTHING), "prefix_forbidden", "OU NET", "NET=0.0.0.0/0"),
    (request(GRE, AS, "NET=::/0"), policy(EVERYTHING), "prefix_forbidden", "OU NET", "NET=::/0"),
    (request(GRE, AS, "NET=10.255.0.0/25"), policy(EVERYTHING), "prefix_forbidden", "OU NET", "NET=10.255.0.0/25"),
    (request(GRE, AS, "NET=10.0.0.0/8"), policy(EVERYTHING), "prefix_forbidden", "OU NET", "NET=10.0.0.0/8"),
    (request(), rules(forbidden_networks=(ip_network("192.168.2.128/25"),)),
     "prefix_forbidden", "OU NET", "NET=192.168.2.0/24"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "by", "reason", "field", "found"), DENIED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_rule_that_fails_denies_and_says_why(
    asked: BindingRequest, by: Policy, reason: str, field: str, found: str
) -> None:
    """A denial names the reason, the field and the value; the expectation is never empty."""
    denied = denial_of(asked, by)
    assert (denied.reason, denied.field, denied.found) == (reason, field, found)
    assert denied.expected


#: Tested in test_judge_trust.py and test_judge_resources.py, with chains.
BY_CHAIN = frozenset(
    {
        Reason.UNTRUSTED_ISSUER,
        Reason.ISSUER_NOT_VALID,
        Reason.CERTIFICATE_REVOKED,
        Reason.ISSUER_REVOKED,
        Reason.RESOURCES_EXCEED_ISSUER,
    }
)


def test_every_reason_of_the_policy_has_a_row() -> None:
    """Every reason is tested: in the table, by chains, or by conflicts; two reasons are the authorizer's."""
    elsewhere = {*BY_CHAIN, *CONFLICTS}
    assert {row[2] for row in DENIED} | elsewhere == {*Reason} - {Reason.MALFORMED_EVENT, Reason.INTERNAL_ERROR}


def test_a_certificate_that_passes_every_rule_is_accepted() -> None:
    """The accept has the binding, and the resources in the certificate."""
    peer = peer_of(request())
    assert (peer.protocol_address, peer.nbma_address, peer.as_number) == (ADDRESS, NBMA, 64512)
    assert (peer.prefixes, peer.max_prefix_length) == ((ip_network("192.168.2.0/24"),), (26, 64))
    assert (peer.fingerprint, peer.kind) == (certificate().fingerprint, PeerKind.SPOKE)


def test_a_repeated_decision_is_the_same() -> None:
    """A cached result gives the same decision."""
    judge = Judge(POLICY, Trust())
    for asked in (request(), request("GRE=10.255.0.20", AS), request(GRE, AS, "NET=lan")):
        assert judge.decide(asked, NOW) == judge.decide(asked, NOW)


class TestExplanation:
    """The checks of a decision."""

    def test_it_continues_after_a_failed_rule(self) -> None:
        """An operator sees every fault at once."""
        explained = Judge(POLICY, Trust()).explain(request("GRE=10.255.0.20", "AS=3320"), NOW)
        assert [check.reason for check in explained.checks if not check.passed] == [
            Reason.PROTOCOL_ADDRESS_MISMATCH, Reason.AS_NUMBER_NOT_ALLOWED,
        ]  # fmt: skip
        assert explained.decision.reason is Reason.PROTOCOL_ADDRESS_MISMATCH  # type: ignore[union-attr]

    @pytest.mark.parametrize("row", DENIED, ids=lambda row: row[2])
    def test_the_first_failed_check_is_the_decision(self, row: Any) -> None:
        """A decision and its explanation never differ."""
        asked, by, reason, _, _ = row
        explained = Judge(by, Trust()).explain(asked, NOW)
        assert next(check.reason for check in explained.checks if not check.passed) == reason
        assert explained.decision == decide(asked, by)

    def test_an_accept_has_only_passed_checks(self) -> None:
        """Every check names what was compared."""
        explained = Judge(POLICY, Trust()).explain(request(), NOW)
        assert all(check.passed and check.found and check.expected for check in explained.checks)
        assert explained.resources.prefixes

    @pytest.mark.parametrize("row", DENIED, ids=lambda row: row[2])
    def test_the_checks_come_in_the_order_of_the_reasons(self, row: Any) -> None:
        """``Reason`` lists the rules in the order in which the Judge applies them."""
        asked, by, *_ = row
        order = list(Reason)
        applied = dict.fromkeys(check.reason for check in Judge(by, Trust()).explain(asked, NOW).checks)
        assert all(order.index(one) < order.index(other) for one, other in pairwise(applied))
