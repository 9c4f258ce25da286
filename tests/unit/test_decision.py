"""The decision on one binding, rule by rule."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import pytest

from dmvpn_agent.core.decision import Judge
from dmvpn_agent.core.model import (
    CONFLICTS,
    Accept,
    AsRange,
    BadCertificate,
    BindingRequest,
    BindingType,
    Claim,
    Deny,
    IkePeer,
    Inheritable,
    Peer,
    PeerKind,
    Reason,
    Resources,
    Role,
    Source,
)
from dmvpn_agent.core.policy import (
    Action,
    Combination,
    Maintenance,
    OnConflict,
    Policy,
    RevocationList,
    StaticPeer,
    Trust,
)
from dmvpn_agent.core.standing import PEER_BINDINGS
from factories import ADDRESS, NBMA, NOW, POLICY, RULES, UNITS, YEAR, certificate, decide, policy, request, spoke

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


def revoked(serial: int, **changes: Any) -> Trust:
    crl = RevocationList("CN=test CA", 7, NOW, NOW + YEAR, frozenset({serial}))
    return Trust(revocations={certificate().issuer_name: replace(crl, **changes)})


STRANGER = IkePeer("CN=stranger", has_certificate=True)
PSK = IkePeer("spoke7@example.net", has_certificate=False)
ROW = StaticPeer("*@example.net", Resources((Claim("policy.peer", "10.255.0.2", ADDRESS),),
                                            (Claim("policy.peer", "64512", AsRange(64512, 64512)),)))  # fmt: skip

DENIED = [
    # what is asked, by which policy; reason, field, found
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
    (request(), rules(issuers=("CN=another CA",)), "issuer_not_allowed", "issuer", "CN=test CA"),
    (request(), rules(subjects=("*CN=hub*",)), "subject_not_allowed", "subject", certificate().subject),
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
     "too_many_protocol_addresses", "OU GRE", "2 of them"),
    (request("GRE=10.255.0.20", AS), POLICY, "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.20"),
    (request("GRE=10.255.0.3", "GRE=10.255.0.4", AS), POLICY,
     "protocol_address_mismatch", "OU GRE", "GRE=10.255.0.3, GRE=10.255.0.4"),
    (request("GRE=10.254.0.2", AS, protocol_address=ip_address("10.254.0.2")), POLICY,
     "protocol_address_outside_tunnel", "protocol address", "10.254.0.2"),
    (request(protocol_address=ip_address("192.168.3.7")), SPOKE_POLICY,
     "host_outside_prefixes", "prefixes", "192.168.2.0/24"),
    (request(GRE, NET), POLICY, "no_as_number", "OU AS", "absent"),
    (request(GRE, "AS=64512 "), POLICY, "malformed_as_number", "OU AS", "AS=64512 "),
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
    (request(GRE, AS, NET, "NET=192.168.3.0/24"), rules(max_prefixes=1), "too_many_prefixes", "OU NET", "2 of them"),
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
    """The reason, the place and the value that failed are named; what is expected is never empty."""
    denied = _deny(asked, by)
    assert (denied.reason, denied.field, denied.found) == (reason, field, found)
    assert denied.expected


def test_every_reason_of_the_policy_has_a_row() -> None:
    """No rule is without a test: the table, the CRL's, three of conflicts; and two reasons are the authorizer's."""
    elsewhere = {Reason.CERTIFICATE_REVOKED, *CONFLICTS}
    assert {row[2] for row in DENIED} | elsewhere == {*Reason} - {Reason.MALFORMED_EVENT, Reason.INTERNAL_ERROR}


def _deny(wanted: BindingRequest, by: Policy = POLICY, trust: Trust | None = None) -> Deny:
    decision = decide(wanted, by, trust=trust)
    assert isinstance(decision, Deny), decision
    return decision


def _peer(wanted: BindingRequest, by: Policy = POLICY, trust: Trust | None = None) -> Peer:
    decision = decide(wanted, by, trust=trust)
    assert isinstance(decision, Accept), decision
    assert decision.peer is not None
    return decision.peer


def test_a_certificate_in_order_is_accepted() -> None:
    """An accept carries the binding and what the certificate entitles to."""
    peer = _peer(request())
    assert (peer.protocol_address, peer.nbma_address, peer.as_number) == (ADDRESS, NBMA, 64512)
    assert (peer.prefixes, peer.max_prefix_length) == ((ip_network("192.168.2.0/24"),), (26, 64))
    assert (peer.fingerprint, peer.kind) == (certificate().fingerprint, PeerKind.SPOKE)


def test_the_second_decision_on_a_certificate_is_the_first() -> None:
    """What is remembered of a certificate decides as the certificate did."""
    judge = Judge(POLICY, Trust())
    for asked in (request(), request("GRE=10.255.0.20", AS), request(GRE, AS, "NET=lan")):
        assert judge.decide(asked, NOW) == judge.decide(asked, NOW)


class TestTime:
    """What only time changes."""

    @pytest.mark.parametrize("moment", [NOW - YEAR, NOW + YEAR])
    def test_the_ends_of_the_validity_are_valid(self, moment: Any) -> None:
        """RFC 5280 4.1.2.5: the period is inclusive."""
        assert isinstance(decide(request(), now=moment), Accept)

    def test_a_remembered_certificate_expires_too(self) -> None:
        """Nothing that is remembered outlasts the certificate."""
        judge = Judge(POLICY, Trust())
        assert isinstance(judge.decide(request(), NOW), Accept)
        assert isinstance(judge.decide(request(), NOW + YEAR + timedelta(seconds=1)), Deny)


class TestRevocation:
    """CRLs."""

    def test_a_certificate_in_its_issuers_crl_is_denied(self) -> None:
        """The serial number is named as openssl prints it."""
        denied = _deny(request(), trust=revoked(certificate().serial))
        assert (denied.reason, denied.found) == (Reason.CERTIFICATE_REVOKED, f"{certificate().serial:x}")

    def test_the_crl_of_another_issuer_says_nothing(self) -> None:
        """Serial numbers are an issuer's own."""
        crl = revoked(certificate().serial).revocations[certificate().issuer_name]
        assert _peer(request(), trust=Trust(revocations={b"another": crl}))

    def test_an_outdated_crl_still_revokes(self) -> None:
        """Whom it names is not let in because time went by."""
        assert _deny(request(), trust=revoked(certificate().serial, next_update=NOW - YEAR))

    def test_where_a_crl_is_required_an_outdated_one_denies(self) -> None:
        """Who is not in it may be in the next."""
        strict = policy(requires_crl=True)
        assert _peer(request(), strict, revoked(1))
        denied = _deny(request(), strict, revoked(1, next_update=NOW - timedelta(seconds=1)))
        assert denied.reason is Reason.REVOCATION_UNKNOWN


class TestConfirmation:
    """Who has an IKE_SA with the NBMA address."""

    OWN = IkePeer("OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1", has_certificate=True)

    def test_a_certificate_whose_identity_is_there_is_confirmed(self) -> None:
        """Another peer behind the same address does not matter."""
        assert _peer(request(ike_peers=frozenset({self.OWN, STRANGER})))

    def test_case_counts_in_a_subject_and_not_in_a_name(self) -> None:
        """charon prints the identity as the peer sent it; two subjects that differ in case are two peers to it."""
        shouted = IkePeer(self.OWN.identity.upper(), has_certificate=True)
        assert _deny(request(ike_peers=frozenset({shouted}))).reason is Reason.CERTIFICATE_UNCONFIRMED
        named = request(certificate=certificate(dns_name="spoke1.example"))
        assert _peer(replace(named, ike_peers=frozenset({IkePeer("Spoke1.Example", has_certificate=True)})))

    def test_a_name_that_charon_cuts_is_confirmed_only_where_nobody_else_is_there(self) -> None:
        """It prints 511 bytes, and replaces the part that does not fit: others may begin alike."""
        units = (GRE, AS, *(f"NET=192.168.{number}.0/24" for number in range(30)))
        printed = ", ".join(f"OU={unit}" for unit in units[:-10]) + ", OU=(invalid ID_DE"
        cut = IkePeer(printed[:511], has_certificate=True)
        assert _peer(request(*units, ike_peers=frozenset({cut})))
        assert _deny(request(*units, ike_peers=frozenset({cut, STRANGER}))).reason is Reason.CERTIFICATE_UNCONFIRMED

    def test_it_can_be_switched_off(self) -> None:
        """Then nhrpd's word counts."""
        assert _peer(request(ike_peers=frozenset({STRANGER})), policy(confirms=False))


class TestSources:
    """Where resources are named, and how the policy puts them together."""

    OTHER = (net("192.168.3.0/24"),)

    def test_the_first_source_that_names_any_counts(self) -> None:
        """By default the subject, then the others."""
        assert _peer(named(Source.RFC3779, prefixes=self.OTHER)).prefixes == (ip_network("192.168.2.0/24"),)

    def test_the_order_is_the_policys(self) -> None:
        """Here the RFC 3779 extensions first."""
        by = policy(sources=(Source.RFC3779, Source.SUBJECT))
        assert _peer(named(Source.RFC3779, prefixes=self.OTHER), by).prefixes == (ip_network("192.168.3.0/24"),)

    def test_each_kind_of_resource_is_chosen_for_itself(self) -> None:
        """Prefixes from an extension go with an address from the subject."""
        peer = _peer(named(Source.RFC3779, GRE, AS, prefixes=self.OTHER))
        assert (peer.as_number, peer.prefixes) == (64512, (ip_network("192.168.3.0/24"),))

    def test_all_sources_together(self) -> None:
        """A union names each prefix once."""
        both = named(Source.RFC3779, prefixes=(*self.OTHER, net("192.168.2.0/24")))
        assert set(_peer(both, policy(combination=Combination.UNION)).prefixes) == {
            ip_network("192.168.2.0/24"), ip_network("192.168.3.0/24"),
        }  # fmt: skip

    def test_sources_that_must_agree_and_do(self) -> None:
        """The order does not matter, nor does a source that names none of a kind."""
        asked = named(Source.RFC3779, prefixes=(net("192.168.2.0/24"),))
        assert _peer(asked, policy(combination=Combination.AGREE))

    def test_a_source_that_is_switched_off_is_not_there(self) -> None:
        """Not even to deny."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert _peer(asked, policy(sources=(Source.SUBJECT,)))

    @pytest.mark.parametrize("how", Combination)
    def test_what_is_malformed_in_any_source_denies(self, how: Combination) -> None:
        """It is not passed over because another source is preferred."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert _deny(asked, policy(combination=how)).reason in {Reason.MALFORMED_PREFIX, Reason.SOURCES_DISAGREE}


class TestInheritance:
    """RFC 3779 ``inherit``."""

    ASKED = named(Source.RFC3779, GRE, inherits=frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER}))

    def _trust(self, **resources: Any) -> Trust:
        assert isinstance(self.ASKED.certificate, type(certificate()))
        issuer = self.ASKED.certificate.issuer_name
        authority = replace(certificate(), subject_name=issuer, issuer_name=issuer, subject="CN=test CA",
                            resources={Source.RFC3779: Resources(**resources)})  # fmt: skip
        return Trust({issuer: authority})

    NAMED: ClassVar[dict[str, Any]] = {
        "prefixes": (net("192.168.2.0/24"),),
        "as_numbers": (Claim("ASIdentifiers", "64999", AsRange(64999, 64999)),),
    }

    def test_it_is_resolved_by_the_issuer(self) -> None:
        """What the issuer names is the peer's."""
        peer = _peer(self.ASKED, trust=self._trust(**self.NAMED))
        assert (peer.as_number, peer.prefixes) == (64999, (ip_network("192.168.2.0/24"),))

    def test_an_issuer_that_names_only_part_resolves_only_that(self) -> None:
        """The rest stays open, and denies."""
        denied = _deny(self.ASKED, trust=self._trust(prefixes=self.NAMED["prefixes"]))
        assert (denied.reason, denied.found) == (Reason.INHERITANCE_UNRESOLVED, "inherit: as_number")

    def test_an_issuer_that_inherits_from_itself_resolves_nothing(self) -> None:
        """A root has nobody to inherit from, and the search ends."""
        everything = frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER})
        assert _deny(self.ASKED, trust=self._trust(inherits=everything)).reason is Reason.INHERITANCE_UNRESOLVED


class TestKinds:
    """Hubs, spokes and shortcuts."""

    def _by_kind(self, role: Role) -> Policy:
        of = {kind: replace(RULES, needs_as_number=False, max_prefixes=index) for index, kind in enumerate(PeerKind)}
        return policy(rules={"gre1": of}, role=role)

    def _kind(self, asked: BindingRequest, role: Role) -> PeerKind | None:
        return Judge(self._by_kind(role), Trust()).explain(asked, NOW).kind

    def test_what_a_hub_registers_with_is_a_hub(self) -> None:
        """A binding of type nhs is one that this node asked for."""
        assert self._kind(request(binding_type=BindingType.NHS), Role.SPOKE) is PeerKind.HUB

    def test_a_certificate_with_the_hub_role_is_a_hubs(self) -> None:
        """OU=Hubs, or dmvpn-ca's extension."""
        assert self._kind(request(*UNITS, "Hubs"), Role.HUB) is PeerKind.HUB

    def test_anybody_else_is_a_spoke_to_a_hub_and_a_shortcut_to_a_spoke(self) -> None:
        """The same certificate, seen from two places."""
        assert self._kind(request(), Role.HUB) is PeerKind.SPOKE
        assert self._kind(request(binding_type=BindingType.CACHED), Role.SPOKE) is PeerKind.SHORTCUT

    def test_each_kind_has_rules_of_its_own(self) -> None:
        """A hub may have no prefixes here, and a spoke one."""
        by = self._by_kind(Role.HUB)
        assert _deny(request(*UNITS, "Hubs"), by).reason is Reason.TOO_MANY_PREFIXES
        assert _peer(request(), by)


class TestStaticTable:
    """Peers without certificates, and the operator's overrides."""

    BY = policy(static_peers=(ROW,))

    def _asked(self, *present: IkePeer) -> BindingRequest:
        return request(certificate=None, ike_peers=frozenset(present))

    def test_a_pre_shared_keys_peer_is_judged_by_its_row(self) -> None:
        """The IKE identity is its name."""
        peer = _peer(self._asked(PSK), self.BY)
        assert (peer.subject, peer.as_number, peer.fingerprint, peer.not_after) == (PSK.identity, 64512, "", None)

    def test_the_rows_resources_pass_the_same_rules(self) -> None:
        """The table is no way around the policy."""
        denied = _deny(self._asked(PSK), policy(replace(RULES, as_ranges=(AsRange(1, 2),)), static_peers=(ROW,)))
        assert denied.reason is Reason.AS_NUMBER_NOT_ALLOWED

    def test_a_peer_that_should_have_shown_a_certificate_is_not_judged_by_the_table(self) -> None:
        """One that nhrpd could not hold is not a missing one."""
        shown = IkePeer(PSK.identity, has_certificate=True)
        assert _deny(self._asked(shown), self.BY).reason is Reason.NO_CERTIFICATE

    def test_two_identities_behind_one_address_are_not_told_apart(self) -> None:
        """Nobody is guessed."""
        assert _deny(self._asked(PSK, replace(PSK, identity="other@example.net")), self.BY)

    def test_nobody_known_is_nobody(self) -> None:
        """Without an IKE_SA there is no identity, and the row for everybody is for none."""
        everybody = policy(static_peers=(replace(ROW, identity="*"),))
        assert _deny(self._asked(), everybody).reason is Reason.NO_CERTIFICATE

    def test_a_certificate_goes_before_the_table(self) -> None:
        """Unless the operator said otherwise."""
        row = replace(ROW, identity="*CN=spoke1")
        assert _peer(request(GRE, "AS=64600"), policy(static_peers=(row,))).as_number == 64600
        over = policy(static_peers=(replace(row, overrides=True),))
        assert _peer(request(GRE, "AS=64600"), over).as_number == 64512

    def test_an_override_saves_nobody_from_expiring(self) -> None:
        """It is in place of the resources, not of the certificate."""
        row = replace(ROW, identity="*", overrides=True)
        expired = request(certificate=certificate(not_after=NOW - timedelta(seconds=1)))
        assert _deny(expired, policy(static_peers=(row,))).reason is Reason.CERTIFICATE_EXPIRED

    def test_an_unreadable_certificate_is_not_replaced_by_the_table(self) -> None:
        """Nobody knows whose it is."""
        row = replace(ROW, identity="*", overrides=True)
        asked = request(certificate=BadCertificate("cut off"), ike_peers=frozenset({PSK}))
        assert _deny(asked, policy(static_peers=(row,))).reason is Reason.MALFORMED_CERTIFICATE


class TestMaintenance:
    """What the operator does to single peers."""

    def test_quarantine_accepts_and_gives_no_bgp(self) -> None:
        """The tunnel stays for looking into it; nothing is announced."""
        peer = _peer(request(), policy(maintenance=(Maintenance(Action.QUARANTINE, serial=certificate().serial),)))
        assert (peer.quarantined, peer.as_number, peer.prefixes) == (True, None, ())

    def test_another_peer_is_not_touched(self) -> None:
        """A pattern matches whole names."""
        assert _peer(request(), policy(maintenance=(Maintenance(Action.DENY, identity="CN=spoke1"),)))

    def test_who_is_behind_the_same_address_is_another_peer(self) -> None:
        """A certificate's peer is named by the certificate, not by its neighbours."""
        present = frozenset({TestConfirmation.OWN, STRANGER})
        by = policy(maintenance=(Maintenance(Action.DENY, identity=STRANGER.identity),))
        assert _peer(request(ike_peers=present), by)


class TestConflicts:
    """What another live peer holds."""

    def _decide(self, holder: Peer, by: Policy = POLICY) -> Any:
        return Judge(by, Trust()).decide(request(), NOW, lambda _: (holder,))

    def test_an_address_that_is_held_is_denied(self) -> None:
        """Who holds it is named."""
        denied = self._decide(replace(spoke(9), protocol_address=ADDRESS))
        assert (denied.reason, denied.found) == (Reason.PROTOCOL_ADDRESS_CONFLICT, str(ADDRESS))
        assert "CN=spoke9" in denied.expected

    def test_a_prefix_that_is_held_is_denied(self) -> None:
        """Overlapping is enough."""
        denied = self._decide(spoke(9, "192.168.2.64/26"))
        assert (denied.reason, denied.found) == (Reason.PREFIX_CONFLICT, "192.168.2.0/24")

    def test_where_the_policy_says_so_it_is_taken_over(self) -> None:
        """The accept says from whom."""
        holder = spoke(9, "192.168.2.0/24")
        accepted = self._decide(holder, rules(on_conflict=OnConflict.TAKE_OVER))
        assert accepted.replaces == (holder,)


class TestHosts:
    """nhrpd on a spoke binds the hosts that it has a shortcut to."""

    def test_a_host_in_a_prefix_of_its_peer_is_accepted(self) -> None:
        """It makes nobody a peer."""
        decision = decide(request(protocol_address=HOST), SPOKE_POLICY)
        assert decision == Accept(None)

    def test_a_hub_makes_no_binding_for_a_host(self) -> None:
        """What registers at a hub is a protocol address, even if the host lies in the peer's prefix."""
        assert _deny(request(protocol_address=HOST)).reason is Reason.PROTOCOL_ADDRESS_MISMATCH


class TestResources:
    """Single rules over what a certificate names."""

    def test_any_of_several_protocol_addresses_may_be_registered(self) -> None:
        """A certificate may name many addresses."""
        assert _peer(request("GRE=10.255.0.3", GRE, AS))

    def test_a_certificate_without_prefixes_is_accepted(self) -> None:
        """A peer may have nothing to announce."""
        assert _peer(request(GRE, AS)).prefixes == ()

    def test_a_node_without_bgp_needs_no_as_number(self) -> None:
        """A spoke that only checks certificates asks for no AS."""
        assert _peer(request(GRE), SPOKE_POLICY).as_number is None

    def test_an_as_number_that_nobody_needs_is_still_checked(self) -> None:
        """What a certificate says must be sound even where it is not used."""
        assert _deny(request(GRE, "AS=x"), SPOKE_POLICY).reason is Reason.MALFORMED_AS_NUMBER

    def test_the_own_as_number_is_a_peers_where_ibgp_is_allowed(self) -> None:
        """Whether or not it is in the ranges."""
        by = rules(allows_ibgp=True, as_ranges=(AsRange(64512, 64513),))
        assert _peer(request(GRE, "AS=65000"), by).as_number == 65000

    def test_a_default_route_may_be_allowed(self) -> None:
        """To a hub that gives others the way out."""
        by = policy(replace(EVERYTHING, allows_default_route=True))
        assert _peer(request(GRE, AS, "NET=0.0.0.0/0"), by)

    def test_an_empty_list_of_networks_allows_none(self) -> None:
        """No allowed network means no prefix, not every prefix; the text says so."""
        assert "none is allowed" in _deny(request(), rules(allowed_networks=())).expected

    def test_an_ipv6_protocol_address_is_decided_alike(self) -> None:
        """Addresses of both families go through the same rules."""
        by = rules(tunnel_networks=(*RULES.tunnel_networks, ip_network("2001:db8::/64")))
        assert _peer(request("GRE=2001:db8::2", AS, protocol_address=ip_address("2001:db8::2")), by)

    @pytest.mark.parametrize("kind", sorted(PEER_BINDINGS))
    def test_what_peers_cause_may_be_bound(self, kind: BindingType) -> None:
        """Hubs, spokes and shortcuts arrive as different types, all decided alike."""
        assert _peer(request(binding_type=kind))


class TestExplanation:
    """The trail of a decision."""

    def test_it_goes_on_after_a_rule_that_failed(self) -> None:
        """An operator sees everything that is wrong at once."""
        explained = Judge(POLICY, Trust()).explain(request("GRE=10.255.0.20", "AS=3320"), NOW)
        assert [check.reason for check in explained.checks if not check.passed] == [
            Reason.PROTOCOL_ADDRESS_MISMATCH, Reason.AS_NUMBER_NOT_ALLOWED,
        ]  # fmt: skip
        assert explained.decision.reason is Reason.PROTOCOL_ADDRESS_MISMATCH  # type: ignore[union-attr]

    @pytest.mark.parametrize("row", DENIED, ids=lambda row: row[2])
    def test_the_first_that_failed_is_the_decision(self, row: Any) -> None:
        """Deciding and explaining never differ."""
        asked, by, reason, _, _ = row
        explained = Judge(by, Trust()).explain(asked, NOW)
        assert next(check.reason for check in explained.checks if not check.passed) == reason
        assert explained.decision == decide(asked, by)

    def test_an_accept_has_only_rules_that_passed(self) -> None:
        """And every one of them says what was compared."""
        explained = Judge(POLICY, Trust()).explain(request(), NOW)
        assert all(check.passed and check.found and check.expected for check in explained.checks)
        assert explained.resources.prefixes
