"""nhrpd's cache is read again when nhrpd may answer differently."""

import pytest

from dmvpn_agent.admission import bindings, metrics
from fakes.node import Node
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
