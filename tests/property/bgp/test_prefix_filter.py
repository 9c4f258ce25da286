"""A peer's filter compared with what the policy's documentation says about each prefix."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import DENY_ANY, DENY_ANY_IPV6, Observed
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.prefix_filter import filter_entries
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.peer import Peer
from factories import SETTINGS, spoke
from fakes.bgpd_model import BgpdModel


def _networks(version: int) -> st.SearchStrategy[Network]:
    """Networks of which many overlap: a few bits, then zeros."""
    kind, longest = (IPv4Network, 32) if version == 4 else (IPv6Network, 128)
    return st.builds(
        lambda bits, length: kind((bits << (longest - 6) >> (longest - length) << (longest - length), length)),
        st.integers(0, 63),
        st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, longest - 1, longest]),
    )


def _peers(version: int) -> st.SearchStrategy[Peer]:
    networks = _networks(version)
    longest = st.sampled_from([0, 1, 2, 4, 6, 26, 32] if version == 4 else [0, 1, 5, 48, 64, 128])
    carried = st.lists(st.tuples(networks, longest), max_size=3).map(tuple)
    own = st.tuples(st.lists(networks, max_size=3), longest)
    return st.builds(
        lambda transit, own, withheld, default_route: replace(
            spoke(2),
            prefixes=tuple(own[0]),
            max_prefix_length=(own[1], own[1]),
            transit=transit,
            withheld=tuple(withheld),
            default_route=default_route,
        ),
        st.none() | carried,
        own,
        st.lists(networks, max_size=3),
        st.booleans(),
    )


def _may_announce(peer: Peer, route: Network) -> bool:
    """The documentation: inside what it may announce, not too long, no overlap; the default route by leave only."""
    if not any(route.subnet_of(network) and route.prefixlen <= longest for network, longest in peer.announces):  # type: ignore[arg-type]
        return False
    if route.prefixlen == 0:
        return peer.default_route and not any(network.prefixlen == 0 for network in peer.withheld)
    return not any(route.overlaps(network) for network in peer.withheld)


@given(st.sampled_from([4, 6]).flatmap(lambda version: st.tuples(_peers(version), st.lists(_networks(version)))))
def test_a_filter_permits_what_the_documentation_says_and_nothing_else(case: tuple[Peer, list[Network]]) -> None:
    """In both families, with any overlaps, evaluated as FRR evaluates a prefix-list."""
    peer, routes = case
    model = BgpdModel(routes)
    by = replace(SETTINGS, ipv6=True)
    model.run(render(plan(desired([peer], by), Observed()).changes, Instance(65000)))
    assert model.permitted("10.255.0.2") == {route for route in routes if _may_announce(peer, route)}


@given(_peers(4) | _peers(6))
def test_no_filter_has_an_entry_that_frr_refuses_or_deny_any(peer: Peer) -> None:
    """``ge`` and ``le`` are longer than the prefix (FRR: "len < ge <= le")."""
    for version in (4, 6):
        for entry in filter_entries(peer, version):
            assert entry.ge is None or entry.prefix.prefixlen < entry.ge <= (entry.le or 0)
            assert entry.le is None or entry.prefix.prefixlen < entry.le <= entry.prefix.max_prefixlen
            assert entry not in {DENY_ANY, DENY_ANY_IPV6}
