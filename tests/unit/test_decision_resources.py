"""The decision on one binding: what a certificate names, and where."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import pytest

from deciding import (
    AS,
    EVERYTHING,
    GRE,
    SPOKE_POLICY,
    denial_of,
    named,
    net,
    peer_of,
    rules,
)
from dmvpn_agent.core.model import AsRange, BindingType, Claim, Inheritable, Reason, Resources, Source
from dmvpn_agent.core.policy import Combination, Trust
from dmvpn_agent.core.standing import PEER_BINDINGS
from factories import RULES, certificate, policy, request


class TestSources:
    """Where resources are named, and how the policy puts them together."""

    OTHER = (net("192.168.3.0/24"),)

    def test_the_first_source_that_names_any_counts(self) -> None:
        """By default the subject, then the others."""
        assert peer_of(named(Source.RFC3779, prefixes=self.OTHER)).prefixes == (ip_network("192.168.2.0/24"),)

    def test_the_order_is_the_policys(self) -> None:
        """Here the RFC 3779 extensions first."""
        by = policy(sources=(Source.RFC3779, Source.SUBJECT))
        assert peer_of(named(Source.RFC3779, prefixes=self.OTHER), by).prefixes == (ip_network("192.168.3.0/24"),)

    def test_each_kind_of_resource_is_chosen_for_itself(self) -> None:
        """Prefixes from an extension go with an address from the subject."""
        peer = peer_of(named(Source.RFC3779, GRE, AS, prefixes=self.OTHER))
        assert (peer.as_number, peer.prefixes) == (64512, (ip_network("192.168.3.0/24"),))

    def test_all_sources_together(self) -> None:
        """A union names each prefix once."""
        both = named(Source.RFC3779, prefixes=(*self.OTHER, net("192.168.2.0/24")))
        assert set(peer_of(both, policy(combination=Combination.UNION)).prefixes) == {
            ip_network("192.168.2.0/24"), ip_network("192.168.3.0/24"),
        }  # fmt: skip

    def test_sources_that_must_agree_and_do(self) -> None:
        """The order does not matter, nor does a source that names none of a kind."""
        asked = named(Source.RFC3779, prefixes=(net("192.168.2.0/24"),))
        assert peer_of(asked, policy(combination=Combination.AGREE))

    def test_a_source_that_is_switched_off_is_not_there(self) -> None:
        """Not even to deny."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert peer_of(asked, policy(sources=(Source.SUBJECT,)))

    @pytest.mark.parametrize("how", Combination)
    def test_what_is_malformed_in_any_source_denies(self, how: Combination) -> None:
        """It is not passed over because another source is preferred."""
        asked = named(Source.RFC3779, prefixes=(Claim("IPAddrBlocks", "wrong tag", None),))
        assert denial_of(asked, policy(combination=how)).reason in {Reason.MALFORMED_PREFIX, Reason.SOURCES_DISAGREE}


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
        peer = peer_of(self.ASKED, trust=self._trust(**self.NAMED))
        assert (peer.as_number, peer.prefixes) == (64999, (ip_network("192.168.2.0/24"),))

    def test_an_issuer_that_names_only_part_resolves_only_that(self) -> None:
        """The rest stays open, and denies."""
        denied = denial_of(self.ASKED, trust=self._trust(prefixes=self.NAMED["prefixes"]))
        assert (denied.reason, denied.found) == (Reason.INHERITANCE_UNRESOLVED, "inherit: as_number")

    def test_an_issuer_that_inherits_from_itself_resolves_nothing(self) -> None:
        """A root has nobody to inherit from, and the search ends."""
        everything = frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER})
        assert denial_of(self.ASKED, trust=self._trust(inherits=everything)).reason is Reason.INHERITANCE_UNRESOLVED


class TestResources:
    """Single rules over what a certificate names."""

    def test_any_of_several_protocol_addresses_may_be_registered(self) -> None:
        """A certificate may name many addresses."""
        assert peer_of(request("GRE=10.255.0.3", GRE, AS))

    def test_a_certificate_without_prefixes_is_accepted(self) -> None:
        """A peer may have nothing to announce."""
        assert peer_of(request(GRE, AS)).prefixes == ()

    def test_a_node_without_bgp_needs_no_as_number(self) -> None:
        """A spoke that only checks certificates asks for no AS."""
        assert peer_of(request(GRE), SPOKE_POLICY).as_number is None

    def test_an_as_number_that_nobody_needs_is_still_checked(self) -> None:
        """What a certificate says must be sound even where it is not used."""
        assert denial_of(request(GRE, "AS=x"), SPOKE_POLICY).reason is Reason.MALFORMED_AS_NUMBER

    def test_the_own_as_number_is_a_peers_where_ibgp_is_allowed(self) -> None:
        """Whether or not it is in the ranges."""
        by = rules(allows_ibgp=True, as_ranges=(AsRange(64512, 64513),))
        assert peer_of(request(GRE, "AS=65000"), by).as_number == 65000

    def test_a_default_route_may_be_allowed(self) -> None:
        """To a hub that gives others the way out."""
        by = policy(replace(EVERYTHING, allows_default_route=True))
        assert peer_of(request(GRE, AS, "NET=0.0.0.0/0"), by)

    def test_an_empty_list_of_networks_allows_none(self) -> None:
        """No allowed network means no prefix, not every prefix; the text says so."""
        assert "none is allowed" in denial_of(request(), rules(allowed_networks=())).expected

    def test_an_ipv6_protocol_address_is_decided_alike(self) -> None:
        """Addresses of both families go through the same rules."""
        by = rules(tunnel_networks=(*RULES.tunnel_networks, ip_network("2001:db8::/64")))
        assert peer_of(request("GRE=2001:db8::2", AS, protocol_address=ip_address("2001:db8::2")), by)

    @pytest.mark.parametrize("kind", sorted(PEER_BINDINGS))
    def test_what_peers_cause_may_be_bound(self, kind: BindingType) -> None:
        """Hubs, spokes and shortcuts arrive as different types, all decided alike."""
        assert peer_of(request(binding_type=kind))
