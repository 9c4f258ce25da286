"""Who was there before the agent, who comes back as somebody else, and hubs that come and go."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.bgp.plan import AddEntry, Change, RefreshInbound, RemoveEntry, RemoveNeighbor, SetNeighbor
from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime import metrics
from dmvpn_agent.x509.certificate import Role
from factories import FRR, RULES, SETTINGS, decide, policy, spoke_request
from fakes.node import Node
from fakes.waiting import until

FULL = replace(SETTINGS, ipv6=True, maximum_prefix=MaximumPrefix(1000, 15))
SPOKES = replace(
    SETTINGS,
    peer_group="hubs",
    only_hubs=True,
    hub_weights={ip_address("10.255.0.2"): 200, ip_address("10.255.0.3"): 100},
)


async def _in_step(node: Node, by: BgpSettings) -> None:
    node.reconciler.reload(FRR, by)
    await node.settled()


def _written(node: Node) -> list[Change]:
    return [change for batch in node.bgpd.batches for change in batch]


async def test_a_peer_that_comes_back_with_another_as_or_net_is_corrected_at_once(node: Node) -> None:
    """In the neighbor that is there: bgpd starts the session anew for another AS, and not at all for another NET."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.batches.clear()
        node.accept(2, "192.168.9.0/24")
        await node.settled()
        kinds = [type(change) for change in _written(node)]
        assert kinds == [
            RemoveEntry,
            AddEntry,
            SetNeighbor,
            RefreshInbound,
        ]  # the description has the new fingerprint
        node.bgpd.batches.clear()
        request = spoke_request(2, "192.168.9.0/24", as_number=64999)
        decision = decide(request)
        assert isinstance(decision, Accept)
        node.apply_decision(request, decision)
        await node.settled()
    assert [type(change) for change in _written(node)] == [SetNeighbor]
    assert node.bgpd.model.neighbors["10.255.0.2"].remote_as == "64999"


async def test_a_peer_that_moved_is_the_same_neighbor(node: Node) -> None:
    """Another NBMA address with the same certificate: nothing of BGP depends on it."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.batches.clear()
        request = replace(spoke_request(2), nbma_address=ip_address("198.51.100.2"))
        decision = decide(request)
        assert isinstance(decision, Accept)
        node.apply_decision(request, decision)
        await node.settled()
    assert _written(node) == []


async def test_a_peer_that_went_to_another_hub_and_came_back_kept_its_neighbor(node: Node) -> None:
    """Within the linger time; its session here ended with its tunnel."""
    async with node.running():
        node.accept(2)
        await node.settled()
        node.bgpd.batches.clear()
        node.nhrpd.cache = frozenset()
        await node.bindings.refresh()
        node.clock.advance(599)
        node.accept(2)
        node.nhrpd.cache = frozenset({ip_address("10.255.0.2")})
        await node.bindings.refresh()
        node.clock.advance(599)
        await node.bindings.refresh()
        await node.settled()
    assert _written(node) == []


async def test_nobody_is_gone_while_the_cache_has_a_row_that_cannot_be_read(
    node: Node, logs: list[dict[str, Any]]
) -> None:
    """It could be the missing peer's. It is counted each time, and logged once."""
    async with node.running():
        node.accept(2)
        node.nhrpd.cache = frozenset({ip_address("10.255.0.2")})
        await node.bindings.refresh()
        node.nhrpd.cache, node.nhrpd.unreadable = frozenset(), ["a row is not as known"]
        for _ in range(3):
            await node.bindings.refresh()
            node.clock.advance(601)
        assert node.bindings.bound == {ip_address("10.255.0.2")}
        assert len(node.peers) == 1
        node.nhrpd.unreadable = []
        await node.bindings.refresh()
        node.clock.advance(601)
        await node.bindings.refresh()
        assert len(node.peers) == 0
    assert node.telemetry.value(metrics.UNREADABLE, "nhrp_cache") == 3
    assert [entry["source"] for entry in logs if entry["event"] == "item_unreadable"] == ["nhrp_cache"]


async def test_without_its_memory_a_neighbor_keeps_its_filters_of_both_families(node: Node) -> None:
    """And its limits, until the peer has registered again or the linger time is over."""
    async with node.running():
        node.accept(2)
        await _in_step(node, FULL)
    before = node.bgpd.model.running_config()
    assert "dmvpn-agent-10.255.0.2-in6" in before
    node.store.rows.clear()
    node.start()
    node.reconciler.reload(FRR, FULL)
    node.bgpd.batches.clear()
    async with node.running():
        await node.passed()
        assert node.bgpd.model.running_config() == before
        node.accept(2)
        await node.settled()
    assert _written(node) == []


async def test_neighbors_described_as_before_names_are_rewritten_in_place(node: Node) -> None:
    """An agent without names left them; ours is the first word, and nothing but the description is written."""
    async with node.running():
        node.accept(2)
        await node.settled()
        start = "neighbor 10.255.0.2 description"
        named = node.bgpd.model.neighbors["10.255.0.2"].description or ""
        assert named.startswith("dmvpn-agent spoke2 certificate ")
        node.bgpd.model.run(
            ["configure terminal", "router bgp 65000", f"{start} {named.replace('spoke2 ', '')}", "end"]
        )
    node.start()
    node.bgpd.batches.clear()
    async with node.running():
        await until(lambda: node.reconciler.last_sync)
    (change,) = _written(node)
    assert isinstance(change, SetNeighbor)
    assert replace(change.before, description=named) == change.neighbor


async def test_an_operators_bare_neighbor_with_a_peers_as_is_left(node: Node, logs: list[dict[str, Any]]) -> None:
    """It could be one of ours that was cut short, but then its filter would stand."""
    node.bgpd.model.run(["configure terminal", "router bgp 65000", "neighbor 10.255.0.2 remote-as 64514"])
    before = node.bgpd.model.running_config()
    async with node.running():
        node.accept(2)
        await node.settled()
    assert node.bgpd.model.running_config() == before
    assert "neighbor_not_ours" in [entry["event"] for entry in logs]


async def test_a_crash_before_the_description_needs_no_hand(node: Node) -> None:
    """The next pass, or the next agent, completes the neighbor."""
    async with node.running():
        await node.settled()
        # The list takes four lines, and the neighbor's mode and its remote-as three.
        node.bgpd.breaks_after = 7
        node.accept(2)
        await until(lambda: node.reconciler.trouble)
        assert node.bgpd.model.neighbors["10.255.0.2"].description is None
        await node.settled()
    assert node.reconciler.operator_neighbors == ()
    assert (node.bgpd.model.neighbors["10.255.0.2"].description or "").startswith("dmvpn-agent ")


async def test_a_spoke_has_a_neighbor_at_each_hub_that_is_up(node: Node) -> None:
    """Each with its preference; a hub that is lost loses its neighbor alone, after the linger time."""
    rules = replace(RULES, transit=True)
    hubs = {number: replace(spoke_request(number), binding_type=BindingType.NHS) for number in (2, 3)}
    shortcut = replace(spoke_request(4), binding_type=BindingType.CACHED)
    bound = {number: ip_address(f"10.255.0.{number}") for number in hubs}
    async with node.running():
        await _in_step(node, SPOKES)
        for request in (*hubs.values(), shortcut):
            decision = decide(request, policy(rules, role=Role.SPOKE))
            assert isinstance(decision, Accept)
            node.apply_decision(request, decision)
        await node.settled()
        neighbors = node.bgpd.model.neighbors
        assert {address: one.weight for address, one in neighbors.items()} == {
            "10.255.0.2": {"ipv4": "200"}, "10.255.0.3": {"ipv4": "100"},
        }  # fmt: skip
        for seconds in (0, 601):
            node.nhrpd.cache = frozenset({bound[2]})
            node.clock.advance(seconds)
            await node.bindings.refresh()
        await node.settled()
        assert node.configured() == {"10.255.0.2"}
        assert not any(isinstance(change, RemoveNeighbor) and change.address == bound[2] for change in _written(node))
