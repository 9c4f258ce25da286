"""The decision on one binding: which kind of peer asks, the static table, maintenance, conflicts, hosts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from deciding import (
    GRE,
    HOST,
    OWN,
    PSK,
    ROW,
    SPOKE_POLICY,
    STRANGER,
    denial_of,
    peer_of,
    rules,
)
from dmvpn_agent.core.decision import Judge
from dmvpn_agent.core.model import (
    Accept,
    AsRange,
    BadCertificate,
    BindingRequest,
    BindingType,
    IkePeer,
    Peer,
    PeerKind,
    Reason,
    Role,
)
from dmvpn_agent.core.policy import Action, Maintenance, OnConflict, Policy, Trust
from factories import ADDRESS, NOW, POLICY, RULES, UNITS, certificate, decide, policy, request, spoke


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
        assert denial_of(request(*UNITS, "Hubs"), by).reason is Reason.TOO_MANY_PREFIXES
        assert peer_of(request(), by)


class TestStaticTable:
    """Peers without certificates, and the operator's overrides."""

    BY = policy(static_peers=(ROW,))

    def _asked(self, *present: IkePeer) -> BindingRequest:
        return request(certificate=None, ike_peers=frozenset(present))

    def test_a_pre_shared_keys_peer_is_judged_by_its_row(self) -> None:
        """The IKE identity is its name."""
        peer = peer_of(self._asked(PSK), self.BY)
        assert (peer.subject, peer.as_number, peer.fingerprint, peer.not_after) == (PSK.identity, 64512, "", None)

    def test_the_rows_resources_pass_the_same_rules(self) -> None:
        """The table is no way around the policy."""
        denied = denial_of(self._asked(PSK), policy(replace(RULES, as_ranges=(AsRange(1, 2),)), static_peers=(ROW,)))
        assert denied.reason is Reason.AS_NUMBER_NOT_ALLOWED

    def test_a_peer_that_should_have_shown_a_certificate_is_not_judged_by_the_table(self) -> None:
        """One that nhrpd could not hold is not a missing one."""
        shown = IkePeer(PSK.identity, has_certificate=True)
        assert denial_of(self._asked(shown), self.BY).reason is Reason.NO_CERTIFICATE

    def test_two_identities_behind_one_address_are_not_told_apart(self) -> None:
        """Nobody is guessed."""
        assert denial_of(self._asked(PSK, replace(PSK, identity="other@example.net")), self.BY)

    def test_nobody_known_is_nobody(self) -> None:
        """Without an IKE_SA there is no identity, and the row for everybody is for none."""
        everybody = policy(static_peers=(replace(ROW, identity="*"),))
        assert denial_of(self._asked(), everybody).reason is Reason.NO_CERTIFICATE

    def test_a_certificate_goes_before_the_table(self) -> None:
        """Unless the operator said otherwise."""
        row = replace(ROW, identity="*CN=spoke1")
        assert peer_of(request(GRE, "AS=64600"), policy(static_peers=(row,))).as_number == 64600
        over = policy(static_peers=(replace(row, overrides=True),))
        assert peer_of(request(GRE, "AS=64600"), over).as_number == 64512

    def test_an_override_saves_nobody_from_expiring(self) -> None:
        """It is in place of the resources, not of the certificate."""
        row = replace(ROW, identity="*", overrides=True)
        expired = request(certificate=certificate(not_after=NOW - timedelta(seconds=1)))
        assert denial_of(expired, policy(static_peers=(row,))).reason is Reason.CERTIFICATE_EXPIRED

    def test_an_unreadable_certificate_is_not_replaced_by_the_table(self) -> None:
        """Nobody knows whose it is."""
        row = replace(ROW, identity="*", overrides=True)
        asked = request(certificate=BadCertificate("cut off"), ike_peers=frozenset({PSK}))
        assert denial_of(asked, policy(static_peers=(row,))).reason is Reason.MALFORMED_CERTIFICATE


class TestMaintenance:
    """What the operator does to single peers."""

    def test_quarantine_accepts_and_gives_no_bgp(self) -> None:
        """The tunnel stays for looking into it; nothing is announced."""
        peer = peer_of(request(), policy(maintenance=(Maintenance(Action.QUARANTINE, serial=certificate().serial),)))
        assert (peer.quarantined, peer.as_number, peer.prefixes) == (True, None, ())

    def test_another_peer_is_not_touched(self) -> None:
        """A pattern matches whole names."""
        assert peer_of(request(), policy(maintenance=(Maintenance(Action.DENY, identity="CN=spoke1"),)))

    def test_who_is_behind_the_same_address_is_another_peer(self) -> None:
        """A certificate's peer is named by the certificate, not by its neighbours."""
        present = frozenset({OWN, STRANGER})
        by = policy(maintenance=(Maintenance(Action.DENY, identity=STRANGER.identity),))
        assert peer_of(request(ike_peers=present), by)


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
        assert denial_of(request(protocol_address=HOST)).reason is Reason.PROTOCOL_ADDRESS_MISMATCH
