"""What another live peer holds."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from deciding import HOST, SPOKE_POLICY, SPOKE_RULES, rules
from dmvpn_agent.policy.conflict_rules import Holders, decide_conflicts, no_holders
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import OnConflict, Policy
from dmvpn_agent.x509.certificate import Role
from factories import ADDRESS, NBMA, POLICY, UNITS, decide, policy, request, spoke

TAKE_OVER = rules(on_conflict=OnConflict.TAKE_OVER)
HOST_NET = ip_network(HOST)


def _decide(asked: BindingRequest, holders: Holders, by: Policy = POLICY, at_nbma: Holders = no_holders) -> Any:
    accept = decide(asked, by)
    assert isinstance(accept, Accept)
    return decide_conflicts(accept, by, holders, at_nbma)


def _held_by(holder: Peer) -> Holders:
    return lambda _: (holder,)


def test_what_no_peer_holds_is_accepted() -> None:
    """The accept replaces no peer."""
    assert _decide(request(), no_holders) == decide(request())


def test_an_address_that_is_held_is_denied() -> None:
    """The denial names the holder."""
    denied = _decide(request(), _held_by(replace(spoke(9), protocol_address=ADDRESS)))
    assert (denied.reason, denied.found) == (Reason.PROTOCOL_ADDRESS_CONFLICT, str(ADDRESS))
    assert "CN=spoke9" in denied.expected


def test_a_prefix_that_is_held_is_denied() -> None:
    """Overlapping is enough."""
    denied = _decide(request(), _held_by(spoke(9, "192.168.2.64/26")))
    assert (denied.reason, denied.found) == (Reason.PREFIX_CONFLICT, "192.168.2.0/24")


def test_a_policy_may_have_the_later_peer_take_over() -> None:
    """The accept has the peer that it replaces."""
    holder = spoke(9, "192.168.2.0/24")
    assert _decide(request(), _held_by(holder), TAKE_OVER).replaces == (holder,)


def test_no_policy_takes_over_an_nbma_address() -> None:
    """The kernel cannot tell two peers at one NBMA address apart."""
    denied = _decide(request(), no_holders, TAKE_OVER, _held_by(spoke(9)))
    assert (denied.reason, denied.found) == (Reason.NBMA_ADDRESS_CONFLICT, str(NBMA))
    assert "CN=spoke9" in denied.expected


def test_a_host_of_another_live_peer_is_denied() -> None:
    """The prefix is that peer's, unless the policy lets the later one take over."""
    holder = spoke(9, "192.168.2.0/24")
    asked = request(protocol_address=HOST)

    def holders(peer: Peer) -> tuple[Peer, ...]:
        return (holder,) if peer.prefixes == (HOST_NET,) and peer.protocol_address == ADDRESS else ()

    denied = _decide(asked, holders, SPOKE_POLICY)
    assert isinstance(denied, Deny)
    assert (denied.reason, denied.found) == (Reason.PREFIX_CONFLICT, str(HOST_NET))
    later = policy(replace(SPOKE_RULES, on_conflict=OnConflict.TAKE_OVER), role=Role.SPOKE, own_as_number=None)
    assert isinstance(_decide(asked, holders, later), Accept)


def test_a_host_needs_one_address_of_its_peer_without_conflict() -> None:
    """A peer may have several protocol addresses, and conflict with another peer by one of them."""
    asked = request(*UNITS, "GRE=10.255.0.7", protocol_address=HOST)
    by = replace(SPOKE_POLICY, rules={"gre1": SPOKE_POLICY.rules["gre1"]})
    other = ip_address("10.255.0.7")
    held = _decide(asked, lambda peer: (spoke(9),) if peer.protocol_address != other else (), by)
    assert isinstance(held, Accept)
    assert isinstance(_decide(asked, _held_by(spoke(9)), by), Deny)
