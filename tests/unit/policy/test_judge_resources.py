"""The decision on one binding: what a certificate names, and where."""

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
        """What the issuer names is the peer's."""
        peer = peer_of(self.ASKED, trust=self._trust(**self.NAMED))
        assert (peer.as_number, peer.prefixes) == (64999, (ip_network("192.168.2.0/24"),))

    def test_an_issuer_that_names_only_part_resolves_only_that(self) -> None:
        """The rest stays open, and denies."""
        denied = denial_of(self.ASKED, trust=self._trust(prefixes=self.NAMED["prefixes"]))
        assert (denied.reason, denied.found) == (Reason.INHERITANCE_UNRESOLVED, "inherit: as_number")

    def test_it_is_resolved_through_issuers_that_inherit_or_hold_nothing(self) -> None:
        """RFC 3779, section 2.2.3.5, up the whole chain."""
        passing = _holding("CN=a", inherits=frozenset({Inheritable.IPV4})), _holding("CN=b"), _holding(**self.NAMED)
        assert peer_of(self.ASKED, trust=trusting(Chain(tuple(map(Issuer, passing))))).as_number == 64999

    def test_an_issuer_that_inherits_from_itself_resolves_nothing(self) -> None:
        """A root has nobody to inherit from, and the search ends."""
        everything = frozenset({Inheritable.IPV4, Inheritable.AS_NUMBER})
        assert denial_of(self.ASKED, trust=self._trust(inherits=everything)).reason is Reason.INHERITANCE_UNRESOLVED


class TestOverclaim:
    """RFC 3779, section 2.3: nobody gives what it does not hold."""

    @staticmethod
    def _asked(*prefixes: str, number: int = 64999) -> BindingRequest:
        return named(Source.RFC3779, GRE, prefixes=tuple(net(text) for text in prefixes),
                     as_numbers=(_number(number, number),))  # fmt: skip

    def _denied(self, asked: BindingRequest, *issuers: Certificate, by: Policy = POLICY) -> Deny:
        return denial_of(asked, by, trusting(Chain(tuple(map(Issuer, issuers)))))

    def test_what_the_issuer_holds_may_be_claimed(self) -> None:
        """The whole of it, in parts, and across what adjoins."""
        holder = _holding(
            prefixes=(net("192.168.2.0/24"), net("192.168.3.0/24")), as_numbers=(_number(64999, 65000),)
        )
        asked = self._asked("192.168.2.0/23", "192.168.3.128/26")
        assert peer_of(asked, trust=trusting(Chain((Issuer(holder),))))

    def test_what_it_does_not_hold_is_denied(self) -> None:
        """A prefix outside or wider, an AS number, another family, each with a reason of its own."""
        holder = _holding(prefixes=(net("192.168.2.0/24"),), as_numbers=(_number(64999, 64999),))
        for asked in (self._asked("192.168.4.0/24"), self._asked("192.168.2.0/23"), self._asked(number=64998),
                      self._asked("2001:db8::/48")):  # fmt: skip
            denied = self._denied(asked, holder)
            assert denied.reason is Reason.RESOURCES_EXCEED_ISSUER
            assert denied.expected == "what its issuer holds: CN=test CA"

    def test_it_is_asked_up_the_whole_chain(self) -> None:
        """A CA that took too much denies whom it gave it to, also where one between them names nothing."""
        root, sub = _holding("CN=root", prefixes=(net("10.0.0.0/8"),)), _holding(prefixes=(net("192.168.0.0/16"),))
        denied = self._denied(self._asked("192.168.2.0/24"), sub, root)
        assert (denied.reason, denied.expected) == (Reason.RESOURCES_EXCEED_ISSUER, "what its issuer holds: CN=root")
        assert self._denied(self._asked("192.168.2.0/24"), _holding("CN=empty"), root).expected == denied.expected

    def test_an_issuer_without_such_an_extension_limits_nothing(self) -> None:
        """It is not made for RFC 3779."""
        assert peer_of(self._asked("192.168.2.0/24"), trust=trusting(Chain((Issuer(_holding()),))))

    def test_it_can_be_allowed_by_the_issuers_name(self) -> None:
        """For one of them, and not for others."""
        holder = _holding(prefixes=(net("10.0.0.0/8"),))
        asked, chain = self._asked("192.168.2.0/24"), Chain((Issuer(holder),))
        assert peer_of(asked, policy(overclaiming_issuers=("CN=test*",)), trusting(chain))
        assert self._denied(asked, holder, by=policy(overclaiming_issuers=("CN=other",)))


def _number(low: int, high: int) -> Claim[AsRange]:
    return Claim("ASIdentifiers", f"{low}-{high}", AsRange(low, high))


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

    def test_only_a_default_route_withholds_the_tunnel_from_a_spoke(self) -> None:
        """Whatever else lies in a spoke's prefixes is its own."""
        by = policy(replace(EVERYTHING, allows_default_route=True))
        assert peer_of(request(GRE, AS, "NET=0.0.0.0/0"), by).withheld == RULES.tunnel_networks
        assert peer_of(request(GRE, AS, "NET=192.168.2.0/24"), by).withheld == ()

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
