"""A failing connection to charon is bounded and reported."""

import asyncio
from typing import Any

import pytest

from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.session import CharonLost, CharonSession
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.charon import FakeCharon, FakeSa
from fakes.waiting import until

pytestmark = pytest.mark.contract


async def test_a_charon_that_does_not_answer_is_lost(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The wait for an answer is bounded."""
    charon.hang = True
    async with ViciCharon(charon.path, telemetry, timeout=0.05).session() as session:
        with pytest.raises(CharonLost, match="did not answer"):
            await session.request("version", {})


async def test_a_flood_of_events_closes_the_connection_and_does_not_fill_the_memory(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """The error tells the bound; the next session lists all SAs."""
    async with ViciCharon(charon.path, telemetry, max_waiting_events=10).session() as session:
        await session.register("ike-update")
        for _ in range(12):
            charon.raise_event("ike-update", {})
        await until(lambda: session.lost)
        with pytest.raises(CharonLost, match="more than 10 events"):
            await _drain(session)


async def _drain(session: CharonSession) -> None:
    async for _ in session.events():
        pass


async def test_an_ike_sa_that_cannot_be_read_is_skipped_alone(
    charon: FakeCharon, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """It is logged; the others are listed."""
    for number in (1, 2, 3):
        charon.sas[number] = FakeSa(number, f"203.0.113.{number}", f"CN=spoke{number}")
    charon.sas[2].remote_host = "nowhere"
    async with ViciCharon(charon.path, telemetry).session() as session:
        assert [sa.unique_id for sa in await list_sas(session)] == [1, 3]
    (logged,) = [entry for entry in logs if entry["event"] == "item_unreadable"]
    assert "nowhere" in logged["why"]


async def test_a_connection_lost_during_a_list_raises_charon_lost(charon: FakeCharon, telemetry: Telemetry) -> None:
    """An incomplete list is not returned."""
    async with ViciCharon(charon.path, telemetry).session() as session:
        await session.request("version", {})
        charon.hang = True
        listing = asyncio.create_task(list_sas(session))
        await asyncio.sleep(0)
        await charon.stop()
        with pytest.raises(CharonLost):
            await listing
