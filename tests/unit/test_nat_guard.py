"""What becomes of a second peer behind one NAT address."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Deny, Reason
from dmvpn_agent.service.denied import Denied
from dmvpn_agent.service.nat_guard import End, NatGuard
from dmvpn_agent.service.redirect import FirewallError
from dmvpn_agent.service.sa_ender import SaEnder
from dmvpn_agent.service.telemetry import Telemetry
from factories import NBMA, Clock, request
from fakes.sas import FakeSas

FIRST = "CN=first"
SECOND = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
SHARED = Deny(Reason.NBMA_ADDRESS_CONFLICT, "NBMA address", str(NBMA), "one for itself")
PORT = 13043


class Gate:
    """Keeps what it is told; ``refusal`` is what nft says instead."""

    def __init__(self) -> None:
        self.shut: list[End] = []
        self.refusal: str | None = None

    async def silence(self, end: End, span: timedelta) -> None:
        if self.refusal:
            raise FirewallError(self.refusal)
        assert span
        self.shut.append(end)

    async def hear(self, end: End) -> None:
        self.shut.remove(end)


class Stand:
    """The first peer's IKE_SA, and the second's, which was denied."""

    def __init__(self, telemetry: Telemetry, clock: Clock, gate: Gate | None) -> None:
        self.sas, self.denied, self.telemetry = FakeSas(), Denied(), telemetry
        ender = SaEnder(self.sas, telemetry, clock.uptime)
        self.guard = NatGuard(self.sas, ender, self.denied, telemetry, clock.uptime, gate)
        self.sas.arrive(1, FIRST, port=4500)
        self.denied.note(request(), SHARED)

    async def second_comes(self, number: int, port: int = PORT) -> None:
        self.sas.arrive(number, SECOND, port=port)
        self.sas.show()
        await self.guard.look()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def stand(telemetry: Telemetry, clock: Clock, gate: Gate) -> Stand:
    return Stand(telemetry, clock, gate)


async def test_it_is_ended_and_its_port_silenced(stand: Stand, gate: Gate) -> None:
    """The first one's IKE_SA and port are left alone."""
    await stand.second_comes(2)
    assert stand.sas.ended == [2]
    assert gate.shut == [(NBMA, PORT)]
    assert stand.telemetry.samples(metrics.SILENCED_PEERS) == {(): 1}


async def test_what_slips_through_is_ended_at_once(stand: Stand) -> None:
    """Its next attempt was under way when the port was silenced: no back-off leaves it there."""
    await stand.second_comes(2)
    await stand.second_comes(3)
    assert stand.sas.ended == [2, 3]


async def test_when_the_first_has_left_it_is_heard_again(stand: Stand, gate: Gate) -> None:
    """At the next look after it would be accepted."""
    await stand.second_comes(2)
    stand.denied.readmit(request())
    await stand.guard.look()
    assert gate.shut == []


async def test_silence_ends_with_its_time(stand: Stand, gate: Gate, clock: Clock) -> None:
    """nftables has forgotten it by then: whoever comes again is silenced anew."""
    await stand.second_comes(2)
    clock.advance(601)
    await stand.second_comes(3)
    assert stand.sas.ended == [2, 3]
    assert gate.shut == [(NBMA, PORT)] * 2


async def test_the_firsts_own_port_is_never_silenced(stand: Stand, gate: Gate) -> None:
    """Without a NAT both have the same: the address has passed from one to the other."""
    await stand.second_comes(2, port=4500)
    assert stand.sas.ended == [2]
    assert gate.shut == []


@pytest.mark.parametrize("trouble", ["no gate", "refused"])
async def test_without_nftables_it_is_ended_ever_less_often(
    telemetry: Telemetry, clock: Clock, gate: Gate, trouble: str, logs: list[dict[str, Any]]
) -> None:
    """As everybody who is denied, or the two would take turns without pause. It is said once why."""
    gate.refusal = "no table"
    stand = Stand(telemetry, clock, None if trouble == "no gate" else gate)
    await stand.second_comes(2)
    await stand.second_comes(3)
    assert stand.sas.ended == [2]
    assert [entry["event"] for entry in logs].count("peer_not_silenced") == (trouble == "refused")
