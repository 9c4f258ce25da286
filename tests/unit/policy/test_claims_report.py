"""Which claims of a certificate count, and why the others do not."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dmvpn_agent.addresses import AsRange
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.claims_report import ReportedClaim, report_claims
from dmvpn_agent.policy.rules import Combination, Policy, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Claim, Inheritable, Resources, Source
from dmvpn_agent.x509.trust import Trust
from factories import NOW, POLICY, UNITS, certificate, request

ALTERNATIVE = Resources(
    protocol_addresses=(Claim("subjectAltName IP", "10.255.0.2", ip_address("10.255.0.2")),),
)
BLOCKS = Resources(
    as_numbers=(Claim("ASIdentifiers", "64512", AsRange(64512, 64512)),),
    prefixes=(Claim("IPAddrBlocks", "192.168.9.0/24", ip_network("192.168.9.0/24")),),
    inherits=frozenset({Inheritable.IPV6}),
)
BY_TABLE = StaticPeer("*", Resources(protocol_addresses=ALTERNATIVE.protocol_addresses), overrides=True)


def mixed(*units: str) -> Certificate:
    read = certificate(*(units or UNITS))
    extra = {Source.SUBJECT_ALT_NAME: ALTERNATIVE, Source.RFC3779: BLOCKS}
    return replace(read, resources={**read.resources, **extra})


def report(policy: Policy, read: Certificate | None = None) -> dict[str, ReportedClaim]:
    asked = request(certificate=read or mixed())
    return {f"{one.field} {one.text}": one for one in report_claims(asked, policy, Trust(), NOW)}


def counting(policy: Policy, read: Certificate | None = None) -> list[str]:
    return [place for place, claim in report(policy, read).items() if claim.counts]


def test_by_default_the_first_source_that_names_any_counts() -> None:
    """The others are listed, and their notes name policy.sources.order."""
    found = report(POLICY)
    assert (found["OU GRE GRE=10.255.0.2"].counts, found["OU GRE GRE=10.255.0.2"].note) == (True, "")
    for later in ("subjectAltName IP 10.255.0.2", "IPAddrBlocks 192.168.9.0/24"):
        assert not found[later].counts
        assert "policy.sources.order" in found[later].note


@pytest.mark.parametrize(("combination", "counts"), [(Combination.UNION, True), (Combination.AGREE, False)])
def test_sources_can_be_combined(combination: Combination, counts: bool) -> None:
    """In a union each value counts once; with ``agree`` the others are only compared."""
    found = report(replace(POLICY, combination=combination))
    assert found["IPAddrBlocks 192.168.9.0/24"].counts is counts
    assert not found["subjectAltName IP 10.255.0.2"].counts
    assert found["subjectAltName IP 10.255.0.2"].note


def test_a_source_that_is_not_in_the_policy_does_not_count() -> None:
    """It is listed last."""
    found = report(replace(POLICY, sources=(Source.RFC3779, Source.SUBJECT_ALT_NAME)))
    assert not found["OU AS AS=64512"].counts
    assert "policy.sources.order" in found["OU AS AS=64512"].note
    assert next(iter(found)) == "ASIdentifiers 64512"
    assert found["IPAddrBlocks 192.168.9.0/24"].counts


def test_a_malformed_claim_denies() -> None:
    """It counts, and its note says so."""
    found = report(POLICY, mixed("GRE=hub", "AS=64512"))["OU GRE GRE=hub"]
    assert (found.counts, found.value, found.note) == (True, None, "malformed: denies the peer")


def test_an_unresolved_inheritance_is_listed() -> None:
    """It denies, and its note names the key that can resolve it."""
    assert "policy.ca_certificates" in report(POLICY)["ipv6 inherit"].note


def test_the_static_table_overrides_the_certificate() -> None:
    """Nothing in the certificate counts then."""
    by = replace(POLICY, static_peers=(BY_TABLE,))
    assert "[[policy.peer]]" in report(by)["OU GRE GRE=10.255.0.2"].note
    assert counting(by) == ["subjectAltName IP 10.255.0.2"]


def test_without_certificate_only_the_static_table_names_resources() -> None:
    """The row must match the IKE identity."""
    ike_peers = frozenset({IkePeer("psk", False)})
    asked = request(certificate=None, ike_peers=ike_peers)
    assert report_claims(asked, POLICY, Trust(), NOW) == ()
    row = replace(BY_TABLE, overrides=False)
    (one,) = report_claims(asked, replace(POLICY, static_peers=(row,)), Trust(), NOW)
    assert (one.source, one.counts) == (Source.STATIC, True)
