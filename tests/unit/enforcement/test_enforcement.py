"""How decisions are applied to peers that have an IKE_SA already."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.charon import metrics as charon_metrics
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from dmvpn_agent.enforcement.enforcer import HARMLESS, Enforcer
from dmvpn_agent.enforcement.lost_peers import LostPeers
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.orphan_sas import OrphanSaWatch
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.enforcement.teardown_watch import TeardownWatch
from dmvpn_agent.kernel.xfrm import KernelSa
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import ADDRESS, NBMA, NOW, UNITS, Clock, decide, request
from fakes.frr import MemoryStore
from fakes.sas import FakeKernelSas, FakeSas

SPOKE1 = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
REVOKED = Deny(Reason.CERTIFICATE_REVOKED, "serial", "1", "another")
LOCAL = NBMA - 1


class Node:
    """The parts that act on charon, over a fake of it."""

    def __init__(self, store: MemoryStore, telemetry: Telemetry, clock: Clock, *, dry_run: bool = False) -> None:
        self.clock, self.telemetry = clock, telemetry
        self.sas = FakeSas()
        self.peers = Peers(store)
        self.denied = DenialTable()
        self.ender = SaTerminator(self.sas, telemetry, clock.uptime, dry_run=dry_run)
        self.kernel = FakeKernelSas()
        stale = StaleSas(self.sas, self.kernel, self.nbma_addresses, telemetry, clock.both, dry_run=dry_run)
        requests = SaRequests(self.sas, self.sas, stale, telemetry)
        self.reconnections = Reconnections(self.sas, requests, self.denied, clock.uptime, dry_run=dry_run)
        guard = NatGuard(self.sas, self.ender, self.peers, self.denied, telemetry, clock.uptime, None)
        self.enforcer = Enforcer(
            self.sas, self.ender, self.reconnections, guard, self.peers, self.denied, ends_denied=True
        )
        self.bound: frozenset[Any] = frozenset()
        self.last_read: Any = None
        self.reads_wanted = 0
        self.unbound = OrphanSaWatch(self.sas, self.ender, self.peers, self.denied, self, clock.uptime)
        self.neighbors: frozenset[Any] = frozenset()
        self.departures = TeardownWatch(
            self.peers, self.sas, lambda: self.bound, lambda: self.neighbors, telemetry, clock.uptime
        )  # fmt: skip

        self.lost = LostPeers(self.sas, self.peers, self.reconnections, stale, {BindingType.DYNAMIC})

    def nbma_addresses(self) -> set[Address]:
        return {member.request.nbma_address for member in self.peers.memberships()}

    def present(self, number: int = 1, identity: str = SPOKE1, **options: Any) -> None:
        self.sas.arrive(number, identity, **options)
        self.sas.show()

    def accept(self, asked: BindingRequest) -> None:
        decision = decide(asked)
        assert isinstance(decision, Accept)
        self.peers.apply_decision(asked, decision, self.clock.uptime())

    def trigger(self) -> None:
        self.reads_wanted += 1

    async def wait(self, seconds: float) -> None:
        """Let time go by; nhrpd's cache is read again at its end."""
        self.clock.advance(seconds)
        self.last_read = self.clock.uptime()
        await self.unbound.check()


@pytest.fixture
def node(store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Node:
    return Node(store, telemetry, clock)


class TestDenied:
    """IKE_SAs of denied peers."""

    async def test_it_is_ended_and_gone(self, node: Node) -> None:
        """And counted by the reason."""
        node.present()
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 1

    async def test_it_is_left_where_the_operator_says_so(self, node: Node) -> None:
        """``ike.end_denied = false``."""
        node.present()
        node.denied.add(request(), REVOKED)
        node.enforcer.reload(ends_denied=False)
        await node.enforcer.enforce()
        assert node.sas.ended == []

    @pytest.mark.parametrize("reason", sorted(HARMLESS))
    async def test_a_denial_of_the_question_ends_nothing(self, node: Node, reason: Reason) -> None:
        """The tunnel carries what was accepted."""
        node.present()
        node.denied.add(request(), replace(REVOKED, reason=reason))
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_another_peer_behind_the_same_address_is_left(self, node: Node) -> None:
        """Only the one whose certificate was denied goes."""
        node.present(1)
        node.present(2, "CN=neighbour")
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_a_peer_that_asks_for_too_much_keeps_what_it_has(self, node: Node) -> None:
        """A second address that is denied does not cost the first."""
        node.present()
        node.accept(request())
        node.denied.add(
            request(protocol_address=ADDRESS + 5), replace(REVOKED, reason=Reason.PROTOCOL_ADDRESS_MISMATCH)
        )
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_a_peer_without_certificate_is_known_by_its_ike_identity(self, node: Node) -> None:
        """Without an IKE identity, it is the only peer at the address."""
        node.present(1, "spoke7@example.net")
        node.denied.add(request(certificate=None), replace(REVOKED, reason=Reason.NO_CERTIFICATE))
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_of_two_unknown_ones_none_is_guessed(self, node: Node) -> None:
        """Either could be the wrong one."""
        node.present(1, "spoke7@example.net")
        node.present(2, "spoke8@example.net")
        node.denied.add(request(certificate=None), replace(REVOKED, reason=Reason.NO_CERTIFICATE))
        await node.enforcer.enforce()
        assert node.sas.ended == []

    async def test_who_comes_back_is_ended_less_and_less_often(self, node: Node) -> None:
        """The trap policy brings the tunnel up again at once."""
        node.denied.add(request(), REVOKED)
        ended = []
        for seconds in (0, 4, 1, 9, 1):
            node.clock.advance(seconds)
            if not list(node.sas.our_sas()):
                node.present()
            await node.enforcer.enforce()
            ended.append(len(node.sas.ended))
        assert ended == [1, 1, 2, 2, 3]

    async def test_all_ike_sas_of_a_peer_are_ended_together(self, node: Node) -> None:
        """Both sides may have set up one."""
        node.present(1)
        node.present(2)
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == [1, 2]

    async def test_charon_is_read_once_for_all_that_are_ended(self, node: Node) -> None:
        """Listing a thousand SAs after each of a hundred would take charon seconds."""
        for number in range(1, 101):
            address = NBMA + number
            node.present(number, address=address)
            node.denied.add(request(nbma_address=address, protocol_address=ADDRESS + number), REVOKED)
        await node.enforcer.enforce()
        assert len(node.sas.ended) == 100
        assert node.sas.looks == 1
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 100

    async def test_one_that_charon_keeps_is_tried_again(self, node: Node) -> None:
        """Sending terminate does not prove that the IKE_SA is gone."""
        node.present()
        node.sas.stubborn = True
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "failed") == 1
        node.sas.stubborn = False
        node.clock.advance(5)
        await node.enforcer.enforce()
        assert node.telemetry.value(enforcement_metrics.IKE_SAS_ENDED, "certificate_revoked", "gone") == 1

    async def test_charon_away_ends_nothing_and_raises_nothing(self, node: Node) -> None:
        """There will be another pass."""
        node.present()
        node.sas.away = True
        node.denied.add(request(), REVOKED)
        await node.enforcer.enforce()
        assert node.sas.ended == []


class TestReadmitted:
    """Peers that were denied and would be accepted now."""

    ASKED = request(local_nbma_address=LOCAL)

    async def test_one_with_an_ike_sa_loses_it_so_that_it_asks_again(self, node: Node) -> None:
        """Its nhrpd registers as soon as the tunnel is back."""
        node.present()
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert (node.sas.ended, node.sas.initiated) == ([1], [])

    async def test_one_that_is_denied_each_time_it_asks_is_called_ever_less_often(self, node: Node) -> None:
        """nhrpd shows a certificate that it kept from before: the peer would be accepted by the one it has."""
        number = 0
        for _ in range(600):
            if not node.sas.sas_at(NBMA):
                number += 1
                node.present(number)
                node.denied.add(self.ASKED, REVOKED)
                node.denied.readmit(self.ASKED)
            await node.enforcer.enforce()
            node.clock.advance(1)
        assert node.sas.ended == [1, 2, 3, 4, 5, 6, 7]  # after 0, 5, 10, 20, 40, 80, 160 and 320 s more

    async def test_one_that_asks_meanwhile_is_not_called(self, node: Node) -> None:
        """It came by itself, while it waited for its turn, and was accepted."""
        for number in (1, 2):
            node.present(number)
            node.denied.readmit(self.ASKED)
            await node.enforcer.enforce()
        assert node.sas.ended == [1]
        node.accept(self.ASKED)
        node.clock.advance(60)
        await node.enforcer.enforce()
        assert node.sas.ended == [1]

    async def test_one_without_is_invited(self, node: Node) -> None:
        """charon had refused it; it would try again in half an hour."""
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA)]
        assert node.telemetry.value(charon_metrics.INVITATIONS, "sent") == 1

    async def test_it_is_called_until_it_comes(self, node: Node) -> None:
        """The kernel asks charon for nothing while an earlier attempt stands in it."""
        node.denied.readmit(self.ASKED)
        calls = []
        for seconds in (0, 4, 1, 9, 1):
            node.clock.advance(seconds)
            await node.enforcer.enforce()
            calls.append(len(node.sas.initiated))
        assert calls == [1, 1, 2, 3, 3]
        node.present()
        node.clock.advance(60)
        await node.enforcer.enforce()
        assert len(node.sas.initiated) == 3

    async def test_where_charon_is_away_a_pass_calls_only_one(self, node: Node) -> None:
        """Each call may take seconds to fail, and the next pass has denied peers to end."""
        node.sas.away = True
        node.denied.readmit(self.ASKED)
        node.denied.readmit(replace(self.ASKED, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
        await node.enforcer.enforce()
        assert node.telemetry.value(charon_metrics.INVITATIONS, "failed") == 1
        node.sas.away = False
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA + 1)]

    async def test_what_goes_wrong_with_one_is_not_the_end_of_the_others(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are called at the next pass, after the part was started again."""
        node.denied.readmit(self.ASKED)
        node.denied.readmit(replace(self.ASKED, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
        with monkeypatch.context() as patch:
            patch.setattr(node.sas, "sas_of", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await node.enforcer.enforce()
        await node.enforcer.enforce()
        assert node.sas.initiated == [(LOCAL, NBMA + 1)]

    async def test_it_is_not_called_for_ever(self, node: Node) -> None:
        """It may be switched off."""
        node.denied.readmit(self.ASKED)
        for _ in range(100):
            node.clock.advance(60)
            await node.enforcer.enforce()
        assert 10 < len(node.sas.initiated) < 20

    async def test_an_invitation_that_fails_is_counted(self, node: Node) -> None:
        """The peer comes back by itself, later."""
        node.sas.away = True
        node.denied.readmit(self.ASKED)
        await node.enforcer.enforce()
        assert node.telemetry.value(charon_metrics.INVITATIONS, "failed") == 1


class TestUnbound:
    """Tunnels without a binding."""

    async def test_it_is_ended_after_a_while(self, node: Node) -> None:
        """Its registration was lost while the agent was down."""
        node.present()
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_a_cache_that_was_not_read_since_says_nothing(self, node: Node) -> None:
        """No IKE_SA ends because nhrpd cannot be read."""
        node.present()
        await node.wait(0)
        node.clock.advance(3600)
        await node.unbound.check()
        assert node.sas.ended == []
        assert node.reads_wanted == 1

    async def test_where_all_bindings_went_at_once_it_is_soon(self, node: Node) -> None:
        """nhrpd lost them all while the tunnels stayed; the last are called as soon as the first."""
        node.present(1)
        node.present(2, "CN=spoke2", address=NBMA + 1)
        units = ("GRE=10.255.0.3", "AS=64513", "NET=192.168.3.0/24")
        other = request(*units, protocol_address=ADDRESS + 1, nbma_address=NBMA + 1)
        for asked in (request(), other):
            node.accept(asked)
        node.bound = frozenset({ADDRESS, ADDRESS + 1})
        await node.wait(0)
        node.bound = frozenset()
        await node.wait(1)
        node.bound = frozenset({ADDRESS})
        await node.wait(4)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [2]

    async def test_one_that_was_accepted_is_soon(self, node: Node) -> None:
        """nhrpd forgot the answer, because another circuit of the peer went at that moment."""
        await node.wait(0)
        node.clock.advance(60)
        node.present()
        node.accept(request())
        await node.wait(0)
        await node.wait(9)
        assert node.sas.ended == []
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_one_that_was_accepted_late_has_its_time(self, node: Node) -> None:
        """Its IKE_SA was there before: the binding follows the answer, not the IKE_SA."""
        await node.wait(0)
        node.clock.advance(60)
        node.present()
        await node.wait(0)
        await node.wait(20)
        node.accept(request())
        await node.wait(9)
        assert node.sas.ended == []

    async def test_where_many_were_accepted_there_is_no_hurry(self, node: Node) -> None:
        """They are about to register."""
        await node.wait(0)
        node.clock.advance(60)
        for number in range(6):
            node.present(number, address=NBMA + number)
            node.accept(request(protocol_address=ADDRESS, nbma_address=NBMA + number))
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []

    async def test_where_the_tunnel_interface_came_back_it_is_at_once(self, node: Node) -> None:
        """nhrpd dropped all bindings with it, and no peer has noticed."""
        node.present(1, "CN=stranger")
        await node.wait(0)
        node.unbound.link_back()
        await node.wait(1)
        assert node.sas.ended == [1]

    async def test_where_one_binding_went_the_others_are_no_reason_to_hurry(self, node: Node) -> None:
        """It may be about to register."""
        node.present(1)
        node.present(2, "CN=stranger", address=NBMA + 1)
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(29)
        assert node.sas.ended == []

    async def test_many_are_ended_a_few_at_a_time(self, node: Node) -> None:
        """Each comes back at once, and has to authenticate."""
        for number in range(1, 26):
            node.present(number, f"CN=spoke{number}", address=NBMA + number)
        await node.wait(0)
        counts = []
        for _ in range(3):
            await node.wait(30)
            counts.append(len(node.sas.ended))
        assert counts == [10, 20, 25]

    async def test_a_bound_peer_is_left(self, node: Node) -> None:
        """However long it is there."""
        node.present()
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        for _ in range(3):
            await node.wait(60)
        assert node.sas.ended == []

    async def test_a_peer_that_nhrpd_forgot_registers_again(self, node: Node) -> None:
        """nhrpd was restarted: the spoke does not know."""
        node.present()
        node.accept(request())
        await node.wait(0)
        await node.wait(30)
        assert node.sas.ended == [1]

    async def test_a_peer_that_the_agent_forgot_registers_again(self, node: Node) -> None:
        """The state directory was lost: nhrpd asks once for a binding, so the peer must register again."""
        node.present()
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(30)
        assert node.sas.ended == [1]

    async def test_a_denied_peer_is_not_this_ones_business(self, node: Node) -> None:
        """It was answered."""
        node.present()
        node.denied.add(request(), replace(REVOKED, reason=Reason.UNKNOWN_INTERFACE))
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []

    async def test_of_two_behind_one_address_the_one_without_a_binding_is_ended(self, node: Node) -> None:
        """The other is bound."""
        node.present(1)
        node.present(2, "CN=neighbour")
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == [2]

    async def test_two_addresses_of_one_peer_do_not_stand_for_two_peers(self, node: Node) -> None:
        """The other one behind its NBMA address has no binding."""
        second = ADDRESS + 5
        units = (*UNITS, f"GRE={second}")
        identity = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, OU=GRE=10.255.0.7, CN=spoke1"
        node.present(1, identity)
        node.present(2, "CN=neighbour")
        for address in (ADDRESS, second):
            node.accept(request(*units, protocol_address=address))
        node.bound = frozenset({ADDRESS, second})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == [2]

    async def test_a_bound_peer_whose_name_we_do_not_know_is_left(self, node: Node) -> None:
        """Names are printed in more ways than we know."""
        node.present(1, "@#c0ffee")
        node.accept(request())
        node.bound = frozenset({ADDRESS})
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []

    async def test_one_whose_child_is_not_up_is_waited_for(self, node: Node) -> None:
        """Nothing could register over it yet."""
        node.present(child="CREATED")
        await node.wait(0)
        await node.wait(60)
        assert node.sas.ended == []


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


def test_the_latest_denials_are_remembered() -> None:
    """Anything that reaches the node can be denied; memory is bounded."""
    denied = DenialTable()
    for number in range(1500):
        denied.add(request(nbma_address=NBMA + number), REVOKED)
    assert len(denied) == 1000
    assert next(iter(denied)).request.nbma_address == NBMA + 500


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


async def test_a_failed_invitation_keeps_no_denied_peer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass begins with the denied peers."""
    monkeypatch.setattr(node.enforcer, "_readmit", lambda _: 1 / 0)
    node.present()
    node.denied.add(request(), REVOKED)
    node.denied.readmit(request(protocol_address=ADDRESS + 1, nbma_address=NBMA + 1))
    with pytest.raises(ZeroDivisionError):
        await node.enforcer.enforce()
    assert node.sas.ended == [1]


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


class TestLostWithCharon:
    """Peers whose IKE_SA went with a charon that was killed."""

    ASKED = request(local_nbma_address=LOCAL)

    async def _calls(self, node: Node) -> list[tuple[Address, Address]]:
        node.lost.check()
        await node.reconnections.connect()
        return node.sas.initiated

    async def test_the_hub_calls_them(self, node: Node) -> None:
        """They notice by themselves only after dead peer detection."""
        node.accept(self.ASKED)
        assert await self._calls(node) == [(LOCAL, NBMA)]

    async def test_one_that_has_an_ike_sa_is_not_called(self, node: Node) -> None:
        """The agent was restarted, charon was not."""
        node.accept(self.ASKED)
        node.present()
        assert await self._calls(node) == []

    async def test_once_for_each_start_of_charon(self, node: Node) -> None:
        """A peer that was switched off is not called for ever."""
        node.accept(self.ASKED)
        for _ in range(300):
            await self._calls(node)
            node.clock.advance(1)
        before = len(node.sas.initiated)
        assert 10 < before < 20
        node.sas.sessions += 1
        assert len(await self._calls(node)) == before + 1

    async def test_before_charon_has_its_connection_nobody_is_called(self, node: Node) -> None:
        """It would refuse, and the kernel would request nothing for half a minute."""
        node.accept(self.ASKED)
        node.sas.loaded = False
        assert await self._calls(node) == []
        assert node.sas.looks == 1
        node.sas.loaded = True
        node.clock.advance(1)
        assert await self._calls(node) == [(LOCAL, NBMA)]

    async def test_one_behind_nat_comes_by_itself(self, node: Node) -> None:
        """Nothing reaches it before its own first packet."""
        node.accept(self.ASKED)
        node.present(nat_remote=True)
        await self._calls(node)
        node.sas.leave(1)
        node.sas.show()
        node.sas.sessions += 1
        assert await self._calls(node) == []

    async def test_one_that_is_denied_meanwhile_is_not_called(self, node: Node) -> None:
        """Its IKE_SA would be ended at once."""
        node.accept(self.ASKED)
        node.lost.check()
        node.denied.add(self.ASKED, REVOKED)
        await node.reconnections.connect()
        assert node.sas.initiated == []

    async def test_a_hub_that_this_node_registers_with_is_not_called_here(self, node: Node) -> None:
        """``HubSas`` asks for its IKE_SA."""
        node.accept(replace(self.ASKED, binding_type=BindingType.NHS))
        assert await self._calls(node) == []

    async def test_a_thousand_are_called_ten_at_a_time(self, node: Node) -> None:
        """Each has to authenticate."""
        for number in range(1000):
            asked = replace(self.ASKED, protocol_address=ADDRESS + number, nbma_address=NBMA + number)
            node.reconnections.add(asked)
        for called in (10, 20, 30):
            await node.reconnections.connect()
            assert len(set(node.sas.initiated)) == called

    async def test_the_kernels_sas_of_the_killed_charon_are_deleted_first(self, node: Node) -> None:
        """The kernel would send by them, and request none from the new one."""
        node.accept(self.ASKED)
        stale = KernelSa(LOCAL, NBMA, 50, "c0000001", 0, 1, int(NOW.timestamp()) - 60, keyed=True)
        node.kernel.present = [stale, replace(stale, source=NBMA, destination=LOCAL, spi="c0000002")]
        assert await self._calls(node) == [(LOCAL, NBMA)]
        assert node.kernel.present == []
        assert node.telemetry.value(enforcement_metrics.STALE_SAS, "deleted") == 2

    async def test_where_the_kernels_sas_cannot_be_read_peers_are_called_all_the_same(self, node: Node) -> None:
        """A native charon needs no packet to start."""
        node.accept(self.ASKED)
        node.kernel.broken = True
        assert await self._calls(node) == [(LOCAL, NBMA)]
        assert node.telemetry.value(enforcement_metrics.STALE_SAS, "failed") == 1
