"""nhrpd's cache is read again when nhrpd may answer differently."""

from collections.abc import Sequence

import pytest

from dmvpn_agent.admission import bindings, metrics
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from fakes.node import Node, accepted
from fakes.waiting import running, until


async def test_a_cache_that_could_not_be_read_is_read_again_soon(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that nhrpd's restart caused met an nhrpd that does not answer yet, and nothing else happens."""
    monkeypatch.setattr(bindings, "RETRY_INTERVAL", 0.01)
    node.nhrpd.cache = None
    async with running(node.bindings.run()):
        await until(lambda: node.bindings.trouble is not None)
        node.nhrpd.cache = frozenset()
        await until(lambda: node.bindings.last_read is not None)
    assert node.bindings.trouble is None


async def test_a_cache_that_was_read_is_left_alone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something happens, or the resync interval is over."""
    monkeypatch.setattr(bindings, "RETRY_INTERVAL", 0.0)
    async with running(node.bindings.run()):
        await until(lambda: node.bindings.last_read is not None)
        node.bindings.trigger()
        await until(lambda: node.telemetry.value(metrics.CACHE_READS, "read") >= 2)
    assert node.telemetry.value(metrics.CACHE_READS, "read") == 2


async def test_an_unchanged_cache_is_compared_with_peers_that_changed(node: Node) -> None:
    """A peer that was accepted meanwhile counts as bound, and one that was denied as unknown."""
    judged: list[int] = []
    peers, clock = node.peers, node.clock.uptime
    watch = BindingWatch(
        node.frr, node.nhrpd, peers, node.telemetry, clock, lambda: None, lambda some: judged.append(len(some))
    )
    request, decision = accepted(2)
    node.nhrpd.cache = frozenset({request.protocol_address})
    for _ in range(2):
        await watch.refresh()
    assert judged == [1, 1]
    node.apply_decision(request, decision)
    await watch.refresh()
    assert judged == [1, 1]
    assert [member.absent_since for member in peers.memberships()] == [None]
    peers.apply_decision(request, Deny(Reason.INTERNAL_ERROR, "test", "", ""), clock())
    await watch.refresh()
    assert judged == [1, 1, 1]


async def test_a_binding_that_was_taken_up_is_not_judged_again(node: Node) -> None:
    """Its peer is known from then on; otherwise every read would accept it anew."""
    request, decision = accepted(2)
    judged: list[int] = []

    def take_up(unknown: Sequence[BindingRequest]) -> None:
        judged.append(len(unknown))
        node.apply_decision(request, decision)

    watch = BindingWatch(
        node.frr, node.nhrpd, node.peers, node.telemetry, node.clock.uptime, lambda: None, take_up
    )  # fmt: skip
    node.nhrpd.cache = frozenset({request.protocol_address})
    for _ in range(3):
        await watch.refresh()
    assert judged == [1]
    assert [member.absent_since for member in node.peers.memberships()] == [None]
