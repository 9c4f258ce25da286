"""Decisions by kind of peer, static table, maintenance, conflicts and hosts."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from deciding import (
    AS,
    EVERYTHING,
    GRE,
    HOST,
    NET,
    OWN,
    PSK,
    ROW,
    SOURCES,
    SPOKE_POLICY,
    SPOKE_RULES,
    STRANGER,
    denial_of,
    named,
    peer_of,
)
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.authentication_rules import static_peer_of
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import ADDRESS_REASONS, Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Action, Combination, Maintenance, Policy, StaticPeer
from dmvpn_agent.x509.certificate import BadCertificate, Claim, Role, Source
from dmvpn_agent.x509.trust import Trust
from factories import NOW, RULES, UNITS, certificate, decide, policy, request

HOST_NET = ip_network(HOST)


class TestKinds:
    """Hubs, spokes and shortcuts."""

    def _by_kind(self, role: Role) -> Policy:
        of = {kind: replace(RULES, needs_as_number=False, max_prefixes=index) for index, kind in enumerate(PeerKind)}
        return policy(rules={"gre1": of}, role=role)

    def _kind(self, asked: BindingRequest, role: Role) -> PeerKind | None:
        return Judge(self._by_kind(role), Trust()).explain(asked, NOW).kind

    @pytest.mark.parametrize(
        ("role", "binding_type", "reason"),
        [
            (Role.HUB, BindingType.DYNAMIC, Reason.IBGP_NOT_ALLOWED),
            (Role.SPOKE, BindingType.NHS, Reason.IBGP_NOT_ALLOWED),
            (Role.SPOKE, BindingType.CACHED, None),
            (Role.SPOKE, BindingType.DYNAMIC, None),
        ],
    )
    def test_a_spoke_may_share_its_as_number_with_another_spoke(
        self, role: Role, binding_type: BindingType, reason: Reason | None
    ) -> None:
        """Spokes have no BGP session with each other, so it would be no iBGP."""
        asked = replace(request(GRE, "AS=64512", NET), binding_type=binding_type)
        by = policy(replace(RULES, requires_hub_role=False), role=role, own_as_number=64512)
        decision = decide(asked, by)
        assert (decision.reason if isinstance(decision, Deny) else None) is reason

    def test_a_peer_with_which_this_node_registers_is_a_hub(self) -> None:
        """This node asked for a binding of type nhs."""
        assert self._kind(request(binding_type=BindingType.NHS), Role.SPOKE) is PeerKind.HUB

    def test_a_peer_with_the_hub_role_is_a_hub(self) -> None:
        """OU=Hubs or dmvpn-ca's extension gives the role."""
        assert self._kind(request(*UNITS, "Hubs"), Role.HUB) is PeerKind.HUB

    def test_a_hub_by_one_source_and_none_by_another_is_no_hub(self) -> None:
        """For any order and combination of sources the peer has no rights of a hub."""
        said_no = named(Source.DMVPN_CA, *UNITS, "Hubs", roles=(Claim("dmvpn-ca hub", "FALSE", Role.SPOKE),))
        for sources in (SOURCES, SOURCES[::-1]):
            for how in (Combination.FIRST, Combination.UNION):
                by = replace(self._by_kind(Role.HUB), sources=sources, combination=how)
                assert Judge(by, Trust()).explain(said_no, NOW).kind is PeerKind.SPOKE
                wary = policy(replace(RULES, requires_hub_role=True), sources=sources, combination=how)
                denied = denial_of(replace(said_no, binding_type=BindingType.NHS), wary)
                assert denied.reason is Reason.ROLE_NOT_ALLOWED
        disagreeing = replace(self._by_kind(Role.HUB), combination=Combination.AGREE)
        assert denial_of(said_no, disagreeing).reason is Reason.SOURCES_DISAGREE
        assert Judge(disagreeing, Trust()).explain(said_no, NOW).kind is PeerKind.SPOKE

    def test_any_other_peer_is_a_spoke_to_a_hub_and_a_shortcut_to_a_spoke(self) -> None:
        """One certificate has two kinds on two nodes."""
        assert self._kind(request(), Role.HUB) is PeerKind.SPOKE
        assert self._kind(request(binding_type=BindingType.CACHED), Role.SPOKE) is PeerKind.SHORTCUT

    def test_each_kind_has_rules_of_its_own(self) -> None:
        """Here a hub may have no prefixes, and a spoke one."""
        by = self._by_kind(Role.HUB)
        assert denial_of(request(*UNITS, "Hubs"), by).reason is Reason.TOO_MANY_PREFIXES
        assert peer_of(request(), by)


class TestStaticTable:
    """Peers without certificates, and overrides."""

    BY = policy(static_peers=(ROW,))

    def _asked(self, *present: IkePeer) -> BindingRequest:
        return request(certificate=None, ike_peers=frozenset(present))

    def test_a_peer_with_a_pre_shared_key_is_judged_by_its_row(self) -> None:
        """Its name is the IKE identity."""
        peer = peer_of(self._asked(PSK), self.BY)
        assert (peer.subject, peer.as_number, peer.fingerprint, peer.not_after) == (PSK.identity, 64512, "", None)

    def test_the_rows_resources_pass_the_same_rules(self) -> None:
        """The static table does not bypass the policy."""
        denied = denial_of(self._asked(PSK), policy(replace(RULES, as_ranges=(AsRange(1, 2),)), static_peers=(ROW,)))
        assert denied.reason is Reason.AS_NUMBER_NOT_ALLOWED

    def test_a_peer_that_authenticated_by_certificate_needs_one(self) -> None:
        """A certificate that nhrpd cannot hold is not a missing one."""
        shown = IkePeer(PSK.identity, has_certificate=True)
        assert denial_of(self._asked(shown), self.BY).reason is Reason.NO_CERTIFICATE

    @pytest.mark.parametrize("overrides", [True, False])
    @pytest.mark.parametrize(
        ("shown", "served_by"),
        [
            ({"certificate": None, "ike_peers": frozenset({PSK})}, False),
            ({"certificate": None, "ike_peers": frozenset({OWN})}, None),
            (
                {"certificate": None, "ike_peers": frozenset({replace(OWN, unproven=True)})},
                None,
            ),
            ({"certificate": None, "ike_peers": frozenset({replace(PSK, unproven=True)})}, None),
            ({}, True),
        ],
        ids=["pre-shared key", "certificate not shown", "another method", "not known", "certificate"],
    )
    def test_a_row_is_for_one_kind_of_authentication(
        self, overrides: bool, shown: dict[str, Any], served_by: bool | None
    ) -> None:
        """A peer with a pre-shared key chooses its identity, and could choose one meant for a certificate."""
        row = replace(ROW, identity="*", overrides=overrides)
        assert (static_peer_of(request(**shown), policy(static_peers=(row,))) is row) == (served_by is overrides)

    def test_two_identities_at_one_nbma_address_are_denied(self) -> None:
        """The agent does not guess."""
        assert denial_of(self._asked(PSK, replace(PSK, identity="other@example.net")), self.BY)

    def test_without_an_ike_sa_no_row_matches(self) -> None:
        """Not even a row for every identity does."""
        any_identity = policy(static_peers=(replace(ROW, identity="*"),))
        assert denial_of(self._asked(), any_identity).reason is Reason.NO_CERTIFICATE

    def test_a_certificate_comes_before_the_static_table(self) -> None:
        """Only a row with override replaces it."""
        row = replace(ROW, identity="*CN=spoke1")
        assert peer_of(request(GRE, "AS=64600"), policy(static_peers=(row,))).as_number == 64600
        over = policy(static_peers=(replace(row, overrides=True),))
        assert peer_of(request(GRE, "AS=64600"), over).as_number == 64512

    def test_two_rows_with_one_pattern_are_distinct(self) -> None:
        """One is for peers with a certificate, the other for peers without."""
        override = replace(
            ROW, identity="*", overrides=True, resources=replace(ROW.resources, roles=(Claim("x", "hub", Role.HUB),))
        )
        judge = Judge(policy(static_peers=(replace(ROW, identity="*"), override)), Trust())
        by_key, by_certificate = self._asked(PSK), request(ike_peers=frozenset({OWN}))
        kinds = [judge.explain(one, NOW).kind for one in (by_key, by_certificate)]
        assert kinds == [PeerKind.SPOKE, PeerKind.HUB]
        decided = [judge.decide(one, NOW) for one in (by_key, by_certificate, by_key)]
        assert [one.peer.kind for one in decided if isinstance(one, Accept) and one.peer] == [
            PeerKind.SPOKE, PeerKind.HUB, PeerKind.SPOKE,
        ]  # fmt: skip

    def test_an_override_does_not_prevent_expiry(self) -> None:
        """It replaces the resources, not the certificate."""
        row = replace(ROW, identity="*", overrides=True)
        expired = request(certificate=certificate(not_after=NOW - timedelta(seconds=1)))
        assert denial_of(expired, policy(static_peers=(row,))).reason is Reason.CERTIFICATE_EXPIRED

    def test_an_unreadable_certificate_is_not_replaced_by_the_static_table(self) -> None:
        """Its holder is unknown."""
        row = replace(ROW, identity="*", overrides=True)
        asked = request(certificate=BadCertificate("cut off"), ike_peers=frozenset({PSK}))
        assert denial_of(asked, policy(static_peers=(row,))).reason is Reason.MALFORMED_CERTIFICATE


class TestMaintenance:
    """Single peers are blocked or quarantined."""

    def test_quarantine_accepts_and_gives_no_bgp(self) -> None:
        """The tunnel stays for investigation, and nothing is announced."""
        peer = peer_of(request(), policy(maintenance=(Maintenance(Action.QUARANTINE, serial=certificate().serial),)))
        assert (peer.quarantined, peer.as_number, peer.prefixes) == (True, None, ())

    def test_another_peer_is_not_affected(self) -> None:
        """A pattern matches whole names."""
        assert peer_of(request(), policy(maintenance=(Maintenance(Action.DENY, identity="CN=spoke1"),)))

    @pytest.mark.parametrize("action", Action)
    def test_case_does_not_evade_maintenance(self, action: Action) -> None:
        """charon ignores case in the identity of a pre-shared key, and a wildcard row accepts any case."""
        row = StaticPeer("*@*", certificate().resources[Source.SUBJECT])
        by = policy(static_peers=(row,), maintenance=(Maintenance(action, identity="spoke7@Example.net"),))
        asked = request(certificate=None, ike_peers=frozenset({IkePeer("SPOKE7@example.net", has_certificate=False)}))
        decision = decide(asked, by)
        assert isinstance(decision, Deny) or (decision.peer is not None and decision.peer.quarantined)

    @pytest.mark.parametrize("action", Action)
    @pytest.mark.parametrize("pattern", ["*CN=spoke 1*", "*, CN=Spoke 1", "CN=SPOKE  1,*", "CN=spoke\\C2\\A01,*"])
    @pytest.mark.parametrize("written", ["spoke  1", "\uff33poke 1", "SPOKE\u00a01", " spoke 1 ", "spo\u200bke 1"])
    def test_an_equal_name_does_not_evade_maintenance(self, written: str, pattern: str, action: Action) -> None:
        """RFC 5280, 7.1: white space, the form of letters and case do not count, in the name or in the pattern."""
        asked = request(certificate=certificate(name=written))
        decision = decide(asked, policy(maintenance=(Maintenance(action, identity=pattern),)))
        assert isinstance(decision, Deny) or (decision.peer is not None and decision.peer.quarantined)

    @pytest.mark.parametrize("written", ["spoke1", "spoke 11", "spoke-1"])
    def test_a_similar_name_is_another_peers(self, written: str) -> None:
        """White space between words counts, its amount does not."""
        by = policy(maintenance=(Maintenance(Action.DENY, identity="CN=spoke 1,*"),))
        assert peer_of(request(certificate=certificate(name=written)), by)

    def test_maintenance_of_another_peer_at_the_nbma_address_does_not_matter(self) -> None:
        """The certificate names its peer, and no other."""
        present = frozenset({OWN, STRANGER})
        by = policy(maintenance=(Maintenance(Action.DENY, identity=STRANGER.identity),))
        assert peer_of(request(ike_peers=present), by)


class TestHosts:
    """nhrpd on a spoke binds the hosts at the end of a shortcut."""

    def test_a_host_in_a_prefix_of_its_peer_is_accepted(self) -> None:
        """The host does not become a peer."""
        decision = decide(request(protocol_address=HOST), SPOKE_POLICY)
        assert isinstance(decision, Accept)
        assert (decision.peer, decision.behind) == (
            None,
            (replace(peer_of(request(), SPOKE_POLICY), prefixes=(HOST_NET,)),),
        )

    def test_a_peer_in_quarantine_has_no_hosts(self) -> None:
        """No traffic goes to hosts behind it."""
        by = replace(SPOKE_POLICY, maintenance=(Maintenance(Action.QUARANTINE, identity="*CN=spoke1*"),))
        denied = denial_of(request(protocol_address=HOST), by)
        assert (denied.reason, denied.found) == (Reason.DENIED_BY_MAINTENANCE, "quarantine of identity *CN=spoke1*")

    @pytest.mark.parametrize("end", ["local_addresses", "nbma_address", "local_nbma_address"])
    def test_an_end_of_the_tunnel_is_no_host(self, end: str) -> None:
        """This node and the NBMA addresses are never behind a peer, even if its prefix contains them."""
        address = frozenset({HOST}) if end == "local_addresses" else HOST
        assert denial_of(request(protocol_address=HOST, **{end: address}), SPOKE_POLICY).reason in ADDRESS_REASONS

    def test_a_peer_without_a_possible_address_of_its_own_has_no_hosts(self) -> None:
        """If its own binding is denied, so are the hosts behind it."""
        for own in ("GRE=10.254.0.2", "GRE=10.255.0.0", "GRE=10.255.0.255"):
            denied = denial_of(request(own, AS, NET, protocol_address=HOST), SPOKE_POLICY)
            assert denied.reason is Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL

    def test_a_default_route_does_not_reach_a_forbidden_host(self) -> None:
        """A host in a forbidden network is denied."""
        open_rules = replace(
            SPOKE_RULES,
            allowed_networks=EVERYTHING.allowed_networks,
            forbidden_networks=(ip_network("10.1.0.0/16"),),
            allows_default_route=True,
        )
        by = policy(open_rules, role=Role.SPOKE, own_as_number=None)
        asked = request(GRE, AS, "NET=0.0.0.0/0", protocol_address=ip_address("10.1.2.3"))
        assert denial_of(asked, by).reason is Reason.HOST_OUTSIDE_PREFIXES
        assert isinstance(decide(replace(asked, protocol_address=ip_address("10.2.0.1")), by), Accept)

    def test_a_hub_makes_no_binding_for_a_host(self) -> None:
        """A peer registers a protocol address at a hub, even if a prefix of its certificate contains the host."""
        assert denial_of(request(protocol_address=HOST)).reason is Reason.PROTOCOL_ADDRESS_MISMATCH
