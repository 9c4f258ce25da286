"""When everything of a denied peer is gone."""

from typing import Any

import pytest

from dmvpn_agent.admission.peers import Revoked
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from enforcing import REVOKED, Node
from factories import ADDRESS, request


class TestDepartures:
    """A revoked peer is gone when nothing of it is left."""

    @pytest.fixture
    def gone(self, node: Node) -> Revoked:
        node.accept(request())
        revoked = node.peers.rejudge(node.peers.memberships()[0], lambda _: REVOKED)
        assert isinstance(revoked, Revoked)
        node.departures.add(revoked)
        return revoked

    @pytest.mark.usefixtures("gone")
    async def test_each_of_the_three_is_checked(self, node: Node, logs: list[dict[str, Any]]) -> None:
        """IKE_SA, binding, neighbor: as long as one is there, the peer is."""
        node.present()
        node.bound = node.neighbors = frozenset({ADDRESS})
        node.departures.check()
        node.sas.leave(1)
        node.sas.show()
        node.departures.check()
        node.bound = frozenset()
        node.departures.check()
        assert node.telemetry.value(enforcement_metrics.REVOKED_PRESENT) == 1
        node.neighbors = frozenset()
        node.departures.check()
        assert node.telemetry.value(enforcement_metrics.REVOKED_PRESENT) == 0
        assert logs[-1]["event"] == "peer_gone"

    @pytest.mark.usefixtures("gone")
    async def test_one_that_does_not_go_is_reported_once(self, node: Node, logs: list[dict[str, Any]]) -> None:
        """With what is still there."""
        node.neighbors = frozenset({ADDRESS})
        for _ in range(3):
            node.clock.advance(31)
            node.departures.check()
        said = [entry for entry in logs if entry["event"] == "peer_not_gone"]
        assert [entry["still_there"] for entry in said] == [["BGP neighbor"]]

    @pytest.mark.usefixtures("gone")
    async def test_one_that_is_accepted_again_is_not_watched(self, node: Node) -> None:
        """It is meant to be there."""
        node.neighbors = frozenset({ADDRESS})
        node.accept(request())
        node.departures.check()
        assert node.telemetry.value(enforcement_metrics.REVOKED_PRESENT) == 0
