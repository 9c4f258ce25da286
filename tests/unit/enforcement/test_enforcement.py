"""How decisions are applied to peers that have an IKE_SA already: dry runs, clocks, identities."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.charon import metrics as charon_metrics
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from enforcing import REVOKED, SPOKE1, Node
from factories import NBMA, NOW, UNITS, Clock, decide, request
from fakes.frr import MemoryStore
from fakes.hubs import LOCAL


def test_units_and_identity_belong_together() -> None:
    """The identity these tests use is the one of the certificate they use."""
    assert decide(request(*UNITS, ike_peers=frozenset({IkePeer(SPOKE1, has_certificate=True)})), now=NOW)


class TestDryRun:
    """charon is left alone, and the log has what would have been done."""

    @pytest.fixture
    def node(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Node:
        return Node(store, telemetry, clock, dry_run=True)

    async def test_no_ike_sa_is_ended(self, node: Node, logs: list[dict[str, Any]]) -> None:
        """Neither a denied peer's nor one without a binding; each is said once in an hour."""
        node.present()
        node.denied.add(request(), REVOKED)
        node.present(2, "CN=unbound", address=NBMA + 1)
        for _ in range(40):
            await node.enforcer.enforce()
            await node.wait(1)
        assert node.sas.ended == []
        would = [entry for entry in logs if entry["event"] == "would_end_ike_sa"]
        assert [(entry["ike_id"], entry["cause"]) for entry in would] == [(1, "certificate_revoked"), (2, "unbound")]
        assert node.telemetry.samples(enforcement_metrics.IKE_SAS_ENDED) == {}

    async def test_no_peer_is_invited(self, node: Node, logs: list[dict[str, Any]]) -> None:
        """Nor said to have been."""
        node.denied.readmit(replace(request(), local_nbma_address=LOCAL))
        for _ in range(3):
            await node.enforcer.enforce()
            node.clock.advance(60)
        assert node.sas.initiated == []
        assert [entry["event"] for entry in logs] == ["would_invite"]
        assert node.telemetry.samples(charon_metrics.INVITATIONS) == {}


class TestClockJumps:
    """The time of day is set by a year: what waits goes by the other clock."""

    @pytest.mark.parametrize("years", [1, -1])
    async def test_an_unbound_peer_is_neither_ended_early_nor_left_for_ever(self, node: Node, years: int) -> None:
        node.present()
        await node.wait(1)
        node.clock.jump(timedelta(days=365 * years))
        await node.wait(20)
        assert node.sas.ended == []
        await node.wait(20)
        assert node.sas.ended == [1]

    @pytest.mark.parametrize("years", [1, -1])
    async def test_the_back_off_of_a_denied_peer_goes_on(self, node: Node, years: int) -> None:
        node.sas.stubborn = True
        node.present()
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        node.clock.jump(timedelta(days=365 * years))
        await node.enforcer.enforce()
        assert node.sas.ended == [1]
        node.clock.advance(6)
        await node.enforcer.enforce()
        assert node.sas.ended == [1, 1]
