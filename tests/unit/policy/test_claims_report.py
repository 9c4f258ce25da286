"""What counts of a certificate, and why the rest does not."""

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


def named(policy: Policy, read: Certificate | None = None) -> dict[str, tuple[bool, str]]:
    asked = request(certificate=read or mixed())
    return {f"{one.field} {one.text}": (one.counts, one.note) for one in report_claims(asked, policy, Trust(), NOW)}


def test_the_first_source_that_names_some_counts() -> None:
    """The others are listed, with why they do not."""
    found = named(POLICY)
    assert found["OU GRE GRE=10.255.0.2"] == (True, "")
    later = "a source before it in policy.sources.order names some"
    assert found["subjectAltName IP 10.255.0.2"] == (False, later)
    assert found["IPAddrBlocks 192.168.9.0/24"] == (False, later)


@pytest.mark.parametrize(
    ("combination", "prefix", "address"),
    [(Combination.UNION, (True, ""), "named already"),
     (Combination.AGREE, (False, "compared: the sources must name the same"),
      "compared: the sources must name the same")],
)  # fmt: skip
def test_sources_can_count_together(combination: Combination, prefix: tuple[bool, str], address: str) -> None:
    """In a union each value counts once; what must agree is compared with the first."""
    found = named(replace(POLICY, combination=combination))
    assert found["IPAddrBlocks 192.168.9.0/24"] == prefix
    assert found["subjectAltName IP 10.255.0.2"] == (False, address)


def test_a_source_that_is_not_in_the_policy_does_not_count() -> None:
    """It is listed last."""
    found = named(replace(POLICY, sources=(Source.RFC3779, Source.SUBJECT_ALT_NAME)))
    assert found["OU AS AS=64512"] == (False, "policy.sources.order is without subject")
    assert next(iter(found)) == "ASIdentifiers 64512"
    assert found["IPAddrBlocks 192.168.9.0/24"] == (True, "")


def test_what_is_malformed_denies() -> None:
    """In whichever source that counts."""
    found = named(POLICY, mixed("GRE=hub", "AS=64512"))
    assert found["OU GRE GRE=hub"] == (True, "malformed: denies the peer")


def test_what_is_left_to_an_issuer_nobody_knows_is_listed() -> None:
    """It is part of what denies."""
    assert named(POLICY)["ipv6 inherit"][1].startswith("left to the issuer, and no certificate")


def test_the_static_table_overrides() -> None:
    """Then nothing of the certificate counts."""
    found = named(replace(POLICY, static_peers=(BY_TABLE,)))
    assert found["OU GRE GRE=10.255.0.2"] == (False, "[[policy.peer]] for * overrides the certificate")
    assert [one for one, (counts, _) in found.items() if counts] == ["subjectAltName IP 10.255.0.2"]


def test_nothing_is_named_without_certificate_and_table() -> None:
    """But with a row for the IKE identity, that is."""
    ike_peers = frozenset({IkePeer("psk", False)})
    asked = request(certificate=None, ike_peers=ike_peers)
    assert report_claims(asked, POLICY, Trust(), NOW) == ()
    row = replace(BY_TABLE, overrides=False)
    (one,) = report_claims(asked, replace(POLICY, static_peers=(row,)), Trust(), NOW)
    assert isinstance(one, ReportedClaim)
    assert (one.source, one.counts) == (Source.STATIC, True)
