"""Decisions by the resources that a certificate names, and by their sources."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import pytest

from deciding import (
    AS,
    CA,
    EVERYTHING,
    GRE,
    SPOKE_POLICY,
    denial_of,
    named,
    net,
    peer_of,
    rules,
    trusting,
)
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.policy.authentication_rules import PEER_BINDINGS
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Combination, Policy
from dmvpn_agent.x509.certificate import Certificate, Claim, Inheritable, Resources, Source
from dmvpn_agent.x509.trust import Chain, Issuer, Trust
from factories import POLICY, RULES, policy, request


class TestSources:
    """The policy combines several sources."""

    OTHER = (net("192.168.3.0/24"),)

    def test_the_first_source_that_names_any_counts(self) -> None:
        """By default the subject comes first."""
        assert peer_of(named(Source.RFC3779, prefixes=self.OTHER)).prefixes == (ip_network("192.168.2.0/24"),)

    def test_the_policy_sets_the_order(self) -> None:
        """Here the RFC 3779 extensions come first."""
        by = policy(sources=(Source.RFC3779, Source.SUBJECT))
        assert peer_of(named(Source.RFC3779, prefixes=self.OTHER), by).prefixes == (ip_network("192.168.3.0/24"),)

    def test_each_kind_of_resource_has_its_own_source(self) -> None:
        """Prefixes can come from an extension and the address from the subject."""
        peer = peer_of(named(Source.RFC3779, GRE, AS, prefixes=self.OTHER))
        assert (peer.as_number, peer.prefixes) == (64512, (ip_network("192.168.3.0/24"),))

    def test_a_union_counts_all_sources(self) -> None:
        """Each prefix counts once."""
        both = named(Source.RFC3779, prefixes=(*self.OTHER, net("192.168.2.0/24")))
        assert set(peer_of(both, policy(combination=Combination.UNION)).prefixes) == {
            ip_network("192.168.2.0/24"), ip_network("192.168.3.0/24"),
        }  # fmt: skip

    def test_sources_that_must_agree_and_do_are_accepted(self) -> None:
        """The order does not matter, nor does a source that names none of a kind."""
        asked = named(Source.RFC3779, prefixes=(net("192.168.2.0/24"),))
        assert peer_of(asked, policy(combination=Combination.AGREE))

    def test_a_source_that_is_not_in_the_order_does_not_count(self) -> None:
        """It does not even deny."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert peer_of(asked, policy(sources=(Source.SUBJECT,)))

    @pytest.mark.parametrize("how", Combination)
    def test_a_malformed_claim_in_any_source_denies(self, how: Combination) -> None:
        """It denies even if another source comes first."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert denial_of(asked, policy(combination=how)).reason in {Reason.MALFORMED_PREFIX, Reason.SOURCES_DISAGREE}


def _holding(subject: str = "CN=test CA", **resources: Any) -> Certificate:
    """Return a CA's certificate that holds these resources by RFC 3779."""
    named = {Source.RFC3779: Resources(**resources)} if resources else {}
    return replace(CA, subject=subject, subject_rfc4514=subject, fingerprint=subject, resources=named)


class TestInheritance:
    """RFC 3779 ``inherit``."""

    ASKED = named(Source.RFC3779, GRE, inherits=frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER}))

    def _trust(self, **resources: Any) -> Trust:
        return trusting(Chain((Issuer(_holding(**resources)),)))

    NAMED: ClassVar[dict[str, Any]] = {
        "prefixes": (net("192.168.2.0/24"),),
        "as_numbers": (Claim("ASIdentifiers", "64999", AsRange(64999, 64999)),),
    }

    def test_it_is_resolved_by_the_issuer(self) -> None:
        """The peer gets what the issuer names."""
        peer = peer_of(self.ASKED, trust=self._trust(**self.NAMED))
        assert (peer.as_number, peer.prefixes) == (64999, (ip_network("192.168.2.0/24"),))

    def test_an_issuer_that_names_only_part_resolves_only_that(self) -> None:
        """The rest is unresolved and denies."""
        denied = denial_of(self.ASKED, trust=self._trust(prefixes=self.NAMED["prefixes"]))
        assert (denied.reason, denied.found) == (Reason.INHERITANCE_UNRESOLVED, "inherit: as_number")

    def test_it_is_resolved_through_issuers_that_inherit_or_hold_nothing(self) -> None:
        """RFC 3779, section 2.2.3.5: the search goes up the whole chain."""
        passing = _holding("CN=a", inherits=frozenset({Inheritable.IPV4})), _holding("CN=b"), _holding(**self.NAMED)
        assert peer_of(self.ASKED, trust=trusting(Chain(tuple(map(Issuer, passing))))).as_number == 64999

    def test_an_issuer_that_inherits_from_itself_resolves_nothing(self) -> None:
        """A root has no issuer to inherit from, and the search ends."""
        everything = frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER})
        assert denial_of(self.ASKED, trust=self._trust(inherits=everything)).reason is Reason.INHERITANCE_UNRESOLVED


class TestOverclaim:
    """RFC 3779, section 2.3: no CA gives what it does not hold."""

    @staticmethod
    def _asked(*prefixes: str, number: int = 64999) -> BindingRequest:
        return named(Source.RFC3779, GRE, prefixes=tuple(net(text) for text in prefixes),
                     as_numbers=(_number(number, number),))  # fmt: skip

    def _denied(self, asked: BindingRequest, *issuers: Certificate, by: Policy = POLICY) -> Deny:
        return denial_of(asked, by, trusting(Chain(tuple(map(Issuer, issuers)))))

    def test_a_certificate_may_name_what_its_issuer_holds(self) -> None:
        """It may name the whole, a part, or a block across adjoining ones."""
        holder = _holding(
            prefixes=(net("192.168.2.0/24"), net("192.168.3.0/24")), as_numbers=(_number(64999, 65000),)
        )
        asked = self._asked("192.168.2.0/23", "192.168.3.128/26")
        assert peer_of(asked, trust=trusting(Chain((Issuer(holder),))))

    def test_a_certificate_may_not_name_what_its_issuer_does_not_hold(self) -> None:
        """A prefix outside or wider, another AS number and another address family are denied."""
        holder = _holding(prefixes=(net("192.168.2.0/24"),), as_numbers=(_number(64999, 64999),))
        for asked in (self._asked("192.168.4.0/24"), self._asked("192.168.2.0/23"), self._asked(number=64998),
                      self._asked("2001:db8::/48")):  # fmt: skip
            denied = self._denied(asked, holder)
            assert denied.reason is Reason.RESOURCES_EXCEED_ISSUER
            assert denied.expected.endswith(": CN=test CA")

    def test_the_whole_chain_is_compared(self) -> None:
        """An excess of a CA denies its peers, also across a CA that names nothing."""
        root, sub = _holding("CN=root", prefixes=(net("10.0.0.0/8"),)), _holding(prefixes=(net("192.168.0.0/16"),))
        denied = self._denied(self._asked("192.168.2.0/24"), sub, root)
        assert denied.reason is Reason.RESOURCES_EXCEED_ISSUER
        assert denied.expected.endswith(": CN=root")
        assert self._denied(self._asked("192.168.2.0/24"), _holding("CN=empty"), root).expected == denied.expected

    def test_an_issuer_without_such_an_extension_limits_nothing(self) -> None:
        """Such a CA does not use RFC 3779."""
        assert peer_of(self._asked("192.168.2.0/24"), trust=trusting(Chain((Issuer(_holding()),))))

    def test_the_policy_can_allow_an_issuer_to_overclaim(self) -> None:
        """It is allowed for the named issuer only."""
        holder = _holding(prefixes=(net("10.0.0.0/8"),))
        asked, chain = self._asked("192.168.2.0/24"), Chain((Issuer(holder),))
        assert peer_of(asked, policy(overclaiming_issuers=("CN=test*",)), trusting(chain))
        assert self._denied(asked, holder, by=policy(overclaiming_issuers=("CN=other",)))


def _number(low: int, high: int) -> Claim[AsRange]:
    return Claim("ASIdentifiers", f"{low}-{high}", AsRange(low, high))


class TestResources:
    """Single rules about the resources in a certificate."""

    def test_any_of_several_protocol_addresses_may_be_registered(self) -> None:
        """A certificate may name many addresses."""
        assert peer_of(request("GRE=10.255.0.3", GRE, AS))

    def test_a_certificate_without_prefixes_is_accepted(self) -> None:
        """A peer may have nothing to announce."""
        assert peer_of(request(GRE, AS)).prefixes == ()

    def test_a_node_without_bgp_needs_no_as_number(self) -> None:
        """A spoke that only checks certificates needs none."""
        assert peer_of(request(GRE), SPOKE_POLICY).as_number is None

    def test_an_unneeded_as_number_is_still_checked(self) -> None:
        """A malformed claim denies even if the node does not use it."""
        assert denial_of(request(GRE, "AS=x"), SPOKE_POLICY).reason is Reason.MALFORMED_AS_NUMBER

    def test_allow_ibgp_allows_the_nodes_own_as_number(self) -> None:
        """It need not be in policy.as_numbers."""
        by = rules(allows_ibgp=True, as_ranges=(AsRange(64512, 64513),))
        assert peer_of(request(GRE, "AS=65000"), by).as_number == 65000

    def test_a_default_route_may_be_allowed(self) -> None:
        """A hub may be the others' way to the internet."""
        by = policy(replace(EVERYTHING, allows_default_route=True))
        assert peer_of(request(GRE, AS, "NET=0.0.0.0/0"), by)

    def test_only_a_default_route_withholds_the_tunnel_from_a_spoke(self) -> None:
        """Its other prefixes do not overlap the tunnel."""
        by = policy(replace(EVERYTHING, allows_default_route=True))
        assert peer_of(request(GRE, AS, "NET=0.0.0.0/0"), by).withheld == RULES.tunnel_networks
        assert peer_of(request(GRE, AS, "NET=192.168.2.0/24"), by).withheld == ()

    def test_an_empty_list_of_networks_allows_none(self) -> None:
        """Without allowed networks no prefix is allowed, and the text says so."""
        assert "none is allowed" in denial_of(request(), rules(allowed_networks=())).expected

    def test_an_ipv6_protocol_address_is_decided_alike(self) -> None:
        """The same rules apply to both address families."""
        by = rules(tunnel_networks=(*RULES.tunnel_networks, ip_network("2001:db8::/64")))
        assert peer_of(request("GRE=2001:db8::2", AS, protocol_address=ip_address("2001:db8::2")), by)

    @pytest.mark.parametrize("kind", sorted(PEER_BINDINGS))
    def test_every_type_of_binding_that_peers_ask_for_may_be_bound(self, kind: BindingType) -> None:
        """Hubs, spokes and shortcuts have different types; the rules are the same."""
        assert peer_of(request(binding_type=kind))
