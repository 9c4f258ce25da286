"""What becomes of a second peer behind one NAT address."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.enforcement.nat_guard import End, NatGuard
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA, NOW, UNITS, Clock, certificate, decide, request
from fakes.frr import MemoryStore
from fakes.sas import FakeSas

FIRST = "CN=first"
SECOND = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
SHARED = Deny(Reason.NBMA_ADDRESS_CONFLICT, "NBMA address", str(NBMA), "one for itself")
PORT = 13043


class Gate:
    """Keeps the blocked ends; ``refusal`` is the error of nft."""

    def __init__(self) -> None:
        self.shut: list[End] = []
        self.refusal: str | None = None

    async def block(self, end: End, span: timedelta) -> None:
        if self.refusal:
            raise FirewallError(self.refusal)
        assert span
        self.shut.append(end)

    async def unblock(self, end: End) -> None:
        self.shut.remove(end)


class Stand:
    """The first peer's IKE_SA, and the second's, which was denied."""

    def __init__(self, telemetry: Telemetry, clock: Clock, gate: Gate | None) -> None:
        self.sas, self.denied, self.telemetry = FakeSas(), DenialTable(), telemetry
        self.peers = Peers(MemoryStore())
        ender = SaTerminator(self.sas, telemetry, clock.uptime)
        self.guard = NatGuard(self.sas, ender, self.peers, self.denied, telemetry, clock.uptime, gate)
        self.sas.arrive(1, FIRST, port=4500)
        self.denied.add(request(), SHARED)

    async def second_comes(self, number: int, port: int = PORT) -> None:
        self.sas.arrive(number, SECOND, port=port)
        self.sas.show()
        await self.guard.check()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def stand(telemetry: Telemetry, clock: Clock, gate: Gate) -> Stand:
    return Stand(telemetry, clock, gate)


async def test_it_is_ended_and_its_port_blocked(stand: Stand, gate: Gate) -> None:
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


async def test_when_the_first_has_left_it_is_unblocked(stand: Stand, gate: Gate) -> None:
    """At the next check after it is acceptable."""
    await stand.second_comes(2)
    stand.denied.readmit(request())
    await stand.guard.check()
    assert gate.shut == []


async def test_blocking_ends_with_its_time(stand: Stand, gate: Gate, clock: Clock) -> None:
    """nftables has removed the element by then: a peer that comes again is blocked again."""
    await stand.second_comes(2)
    clock.advance(601)
    await stand.second_comes(3)
    assert stand.sas.ended == [2, 3]
    assert gate.shut == [(NBMA, PORT)] * 2


async def test_the_firsts_own_port_is_never_blocked(stand: Stand, gate: Gate) -> None:
    """Without a NAT both have the same: the address has passed from one to the other."""
    await stand.second_comes(2, port=4500)
    assert stand.sas.ended == [2]
    assert gate.shut == []


@pytest.mark.parametrize("trouble", ["no gate", "refused"])
async def test_without_nftables_it_is_ended_ever_less_often(
    telemetry: Telemetry, clock: Clock, gate: Gate, trouble: str, logs: list[dict[str, Any]]
) -> None:
    """Like any denied peer, or the two would alternate without a pause. The cause is logged once."""
    gate.refusal = "no table"
    stand = Stand(telemetry, clock, None if trouble == "no gate" else gate)
    await stand.second_comes(2)
    await stand.second_comes(3)
    assert stand.sas.ended == [2]
    assert [entry["event"] for entry in logs].count("peer_not_silenced") == (trouble == "refused")


class TestSilent:
    """A second peer that registers nothing: the kernel gives it the first one's packets all the same."""

    @pytest.fixture
    def stand(self, telemetry: Telemetry, clock: Clock, gate: Gate) -> Stand:
        """The first is a peer with an IKE_SA; no peer is denied."""
        stand = Stand(telemetry, clock, gate)
        stand.sas.leave(1)
        stand.denied.remove(request())
        self._accept(stand, request(), clock)
        stand.sas.arrive(1, SECOND, port=4500)
        return stand

    def _accept(self, stand: Stand, asked: BindingRequest, clock: Clock) -> None:
        decision = decide(asked)
        assert isinstance(decision, Accept)
        stand.peers.apply_decision(asked, decision, clock.uptime())

    async def _comes(self, stand: Stand, number: int, identity: str = "CN=silent", **options: Any) -> None:
        stand.sas.arrive(number, identity, **{"port": PORT} | options)
        stand.sas.show()
        await stand.guard.check()

    async def test_it_is_ended_and_its_port_blocked(self, stand: Stand, gate: Gate) -> None:
        """As one that was denied its NBMA address; the first one is left alone."""
        await self._comes(stand, 2)
        assert (stand.sas.ended, gate.shut) == ([2], [(NBMA, PORT)])
        await stand.guard.check()
        assert gate.shut == [(NBMA, PORT)]

    async def test_when_the_first_has_left_it_is_unblocked(self, stand: Stand, gate: Gate) -> None:
        """It may register now."""
        await self._comes(stand, 2)
        stand.sas.leave(1)
        stand.sas.show()
        await stand.guard.check()
        assert gate.shut == []

    async def test_a_first_that_nhrpd_lost_blocks_no_other(self, stand: Stand, clock: Clock) -> None:
        """After as long as it keeps its address and prefixes."""
        clock.advance(61)
        await self._comes(stand, 2)
        assert stand.sas.ended == []

    async def test_an_address_that_was_passed_on_is_let_be(self, stand: Stand) -> None:
        """Without a NAT both have one port; the present peer registers, and is denied until the former is gone."""
        await self._comes(stand, 2, port=4500)
        assert stand.sas.ended == []

    async def test_the_peer_itself_by_a_renewed_certificate_is_let_be(self, stand: Stand) -> None:
        """Its resources are in its name, so charon prints another one; issuer and name are the same."""
        stand.sas.certificates[2] = certificate(*UNITS, "NET=192.168.7.0/24", not_before=NOW)
        await self._comes(stand, 2)
        assert stand.sas.ended == []

    async def test_one_with_another_certificate_is_ended(self, stand: Stand) -> None:
        """Whatever it calls itself."""
        stand.sas.certificates[2] = certificate(name="other")
        await self._comes(stand, 2)
        assert stand.sas.ended == [2]

    async def test_one_without_a_tunnel_yet_is_let_be(self, stand: Stand) -> None:
        """The kernel mixes up CHILD_SAs."""
        await self._comes(stand, 2, child="CREATED")
        assert stand.sas.ended == []

    async def test_peers_with_pre_shared_keys_differ_by_identity(
        self, telemetry: Telemetry, clock: Clock, gate: Gate
    ) -> None:
        """There is nothing else."""
        stand = Stand(telemetry, clock, gate)
        stand.sas.leave(1)
        stand.denied.remove(request())
        peers: frozenset[IkePeer] = frozenset({IkePeer("first", has_certificate=False)})
        decision = decide(request())
        stand.peers.apply_decision(request(certificate=None, ike_peers=peers), decision, clock.uptime())
        stand.sas.arrive(1, "first", psk=True, port=4500)
        await self._comes(stand, 2, "second", psk=True)
        assert stand.sas.ended == [2]
