"""Decisions by charon's IKE_SAs."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from dmvpn_agent.admission import reauthorizer, sa_lookup
from dmvpn_agent.admission.metrics import DECISION_DURATION
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import StaticPeer
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Source
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NBMA, NOW, RULES, UNITS, YEAR, Clock, certificate, policy, request
from fakes.admission import WithCharon
from fakes.frr import MemoryStore
from fakes.waiting import until

GOOD = AuthorizeBinding(1, request())
OWN = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


class TestPeersPresent:
    """The peers that have an IKE_SA with the NBMA address."""

    PSK = policy(static_peers=(StaticPeer("*@example.net", request().certificate.resources[Source.SUBJECT]),))  # type: ignore[union-attr]

    async def test_a_confirmed_certificate_is_answered_without_asking_charon(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The answer to a storm of registrations does not wait."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 0

    async def test_charon_is_asked_about_a_peer_that_is_not_known_yet(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """It registers milliseconds after its tunnel is up."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 1

    @pytest.mark.parametrize(
        "arrives",
        [
            {},
            {"psk": True},
            {"unproven": True},
            {"name": "office"},
            {"name": "dmvpn2"},
            {"address": NBMA + 1},
        ],
        ids=["nobody", "pre-shared key", "another method", "no profile", "another profile", "another address"],
    )
    async def test_a_certificate_that_no_peer_proved_there_is_unconfirmed(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, arrives: dict[str, Any]
    ) -> None:
        """A peer that does not authenticate by certificate may choose the identity of one that does."""
        node = WithCharon(store, telemetry, clock)
        node.sas.tunnels = {"gre1": "dmvpn", "gre2": "dmvpn2"}
        if arrives:
            node.sas.arrive(1, OWN, **arrives)
        denied = await node.ask_waiting(GOOD)
        assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED
        assert "by certificate" in denied.expected

    async def test_without_charon_a_certificate_is_unconfirmed(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No time-out ends in an accept."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.away = True
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_UNCONFIRMED

    async def test_a_charon_that_is_found_in_time_confirms(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The agent may have been started a moment ago."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.connecting = True
        node.sas.at_look(3, lambda: setattr(node.sas, "connecting", False))
        assert isinstance(await node.ask_waiting(GOOD), Accept)

    async def test_a_restart_without_charon_changes_nothing(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An accepted peer stays until charon shows another one."""
        store.save(request())
        node = WithCharon(store, telemetry, clock)
        node.sas.away = True
        node.reauthorizer.start(Trust())
        await node.reauthorizer.rejudge()
        assert ADDRESS in node.peers

    def test_certificates_of_another_interfaces_connection_do_not_count(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """Two profiles may have CAs of their own."""
        node = WithCharon(store, telemetry, clock)
        node.sas.tunnels = {"gre1": "dmvpn", "gre2": "dmvpn2"}
        node.sas.arrive(1, OWN, name="dmvpn2")
        node.sas.certificates[1] = certificate()
        node.sas.show()
        assert node.ask(AuthorizeBinding(1, request(certificate=None))).reason is Reason.NO_CERTIFICATE

    async def test_charon_is_asked_before_a_peer_is_denied_by_an_old_read(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The peer at this address has changed a moment ago."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, "CN=stranger")
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 1

    async def test_what_the_ike_sa_proved_counts_and_not_what_nhrpd_still_shows(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """nhrpd keeps a certificate by address; the peer may have come back with an older one, which is expired."""
        older = certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.certificates[1] = older
        node.sas.show()
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_EXPIRED
        assert node.sas.looks == 1

    async def test_charon_is_asked_before_a_certificate_that_nhrpd_shows_is_passed_over(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The peer has come back with another one a moment ago."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.certificates |= {1: certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR), 2: certificate()}
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        assert isinstance(await node.ask_waiting(GOOD), Accept)

    async def test_a_renewed_certificate_is_waited_for_beside_the_former_ike_sa(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bridge has shown it to nhrpd, and the agent reads it a moment later."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.arrive(2, OWN)
        node.sas.certificates[1] = certificate(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
        node.sas.settled = False
        node.sas.show()
        node.sas.at_look(3, lambda: node.sas.certificates.update({2: certificate()}))
        assert isinstance(await node.ask_waiting(GOOD), Accept)
        assert node.sas.looks == 3

    @pytest.mark.parametrize("psk", [True, False], ids=["pre-shared key", "certificate"])
    async def test_a_peer_is_not_identified_by_the_last_read(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, psk: bool
    ) -> None:
        """Another peer behind the same NAT registers the peer's address as soon as the tunnel is up."""
        node = WithCharon(store, telemetry, clock, self.PSK if psk else policy())
        node.sas.arrive(1, "spoke7@example.net" if psk else OWN, psk=psk)
        node.sas.certificates |= {} if psk else {1: certificate(padding=3000)}
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, "other", psk=psk, unproven=not psk)
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_if_charon_does_not_answer_the_last_read_identifies_no_peer(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It answers no list-sas while it is busy with an IKE_SA, and a peer may keep it busy."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.01)
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.arrive(1, "spoke7@example.net", psk=True)
        node.sas.show()
        monkeypatch.setattr(node.sas, "refresh", asyncio.Event().wait)
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_charon_is_asked_about_a_peer_without_certificate(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """A registration comes milliseconds after the tunnel, sooner than the next look."""
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.arrive(1, "spoke7@example.net", psk=True)
        assert isinstance(await node.ask_waiting(AuthorizeBinding(1, request(certificate=None))), Accept)

    async def test_without_charon_a_peer_without_certificate_is_denied(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An unknown peer gets no other peer's identity."""
        node = WithCharon(store, telemetry, clock, self.PSK)
        node.sas.away = True
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_a_peer_that_turns_out_to_be_another_is_thrown_out(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """An accepted peer is judged again when charon shows another one."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.arrive(2, "CN=stranger")
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.CERTIFICATE_UNCONFIRMED]

    async def test_after_a_change_of_ike_sas_all_peers_are_judged_soon(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not only at the next of the regular times."""
        monkeypatch.setattr(reauthorizer, "REJUDGE_INTERVAL", 600)
        monkeypatch.setattr(reauthorizer, "REJUDGE_AFTER_SAS", 0)
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.arrive(2, "CN=stranger")
        node.sas.show()
        running = asyncio.create_task(node.reauthorizer.run())
        node.reauthorizer.sas_changed()
        await until(lambda: node.revoked)
        running.cancel()

    async def test_a_peer_without_news_is_left(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        """Its tunnel may be setting up again."""
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert node.revoked == []


class TestProof:
    """The certificate that the peer's IKE_SA was authenticated with."""

    @pytest.fixture
    def node(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> WithCharon:
        return WithCharon(store, telemetry, clock)

    async def test_a_certificate_that_nhrpd_cannot_hold_is_judged(self, node: WithCharon, store: MemoryStore) -> None:
        """It is known with the IKE_SA, and stored like any other."""
        node.sas.arrive(1, OWN)
        node.sas.certificates[1] = certificate(padding=3000)
        assert isinstance(await node.ask_waiting(AuthorizeBinding(1, request(certificate=None))), Accept)
        assert [kept.certificate for kept in store.load()] == [certificate(padding=3000)]

    async def test_a_dead_peers_certificate_does_not_serve_another_peer(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """charon lists its IKE_SA until the timeout; another peer there registers without a certificate."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.05)
        node.sas.arrive(1, OWN)
        node.sas.certificates[1] = certificate(padding=3000)
        node.sas.arrive(2, "somebody", unproven=True)
        decision = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert decision.reason is Reason.NO_CERTIFICATE

    async def test_one_that_is_not_known_yet_is_waited_for(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bridge takes it at the same moment as nhrpd hears of the tunnel."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node.sas.arrive(1, OWN)
        node.sas.at_look(3, lambda: node.sas.certificates.update({1: certificate()}))
        assert isinstance(await node.ask_waiting(AuthorizeBinding(1, request(certificate=None))), Accept)

    @pytest.mark.parametrize("foreign", [True, False], ids=["none of ours", "the one that nhrpd shows"])
    async def test_the_certificate_of_a_new_ike_sa_is_waited_for(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch, *, foreign: bool
    ) -> None:
        """nhrpd keeps certificates by address: whoever comes from there with this name may have used another CA's."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.settled = False
        found = (
            node.sas.find_no_certificate if foreign else lambda _: node.sas.certificates.update({1: certificate()})
        )
        node.sas.at_look(3, lambda: found(OWN))
        decision = await node.ask_waiting(GOOD)
        assert node.sas.looks == 3
        if foreign:
            assert decision.reason is Reason.CERTIFICATE_UNCONFIRMED
        else:
            assert isinstance(decision, Accept)

    async def test_where_the_bridge_cannot_store_it_the_name_counts(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No disk that is full keeps peers out; what the bridge stores later takes them back."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.settled = False
        assert isinstance(await node.ask_waiting(GOOD), Accept)

    async def test_few_wait_that_the_name_can_answer(self, node: WithCharon, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests that it cannot answer need the room: without a certificate, or of an IKE_SA not listed yet."""
        monkeypatch.setattr(sa_lookup, "MAX_CONFIRMED_BY_NAME", 1)
        node.sas.settled = False
        for number in (1, 2, 3):
            node.sas.arrive(number, OWN, NBMA + number)
        node.sas.show()
        events = [AuthorizeBinding(number, replace(request(), nbma_address=NBMA + number)) for number in (1, 2, 3)]
        asked = [asyncio.create_task(node.ask_waiting(one)) for one in events]
        await until(lambda: sum(one.done() for one in asked) == 2)
        assert all(isinstance(one.result(), Accept) for one in asked if one.done())
        for one in asked:
            one.cancel()

    async def test_the_wait_is_part_of_the_time_to_decide(
        self, node: WithCharon, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """nhrpd waits as long, and denies after 10 s."""
        monkeypatch.setattr(sa_lookup, "ASK_PAUSE", 0)
        node.sas.arrive(1, OWN)

        def known_late() -> None:
            clock.advance(9)
            node.sas.certificates[1] = certificate()

        node.sas.at_look(2, known_late)
        assert isinstance(await node.ask_waiting(AuthorizeBinding(1, request(certificate=None))), Accept)
        (durations,) = (one for one in telemetry.families() if one.metric is DECISION_DURATION)
        assert durations.distributions["accept",].total == 9

    async def test_not_for_ever(self, node: WithCharon, monkeypatch: pytest.MonkeyPatch) -> None:
        """nhrpd is answered before it gives up."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        denied = await node.ask_waiting(AuthorizeBinding(1, request(certificate=None)))
        assert denied.reason is Reason.NO_CERTIFICATE

    async def test_a_renewed_certificate_is_judged_without_being_asked(
        self, node: WithCharon, store: MemoryStore
    ) -> None:
        """A prefix that it lost is lost to the peer, which stays; after a restart, too."""
        former = certificate(*UNITS, "NET=192.168.7.0/24", not_before=NOW - YEAR)
        renewed = certificate(*UNITS, not_before=NOW)
        node.sas.arrive(1, OWN.replace(", CN", ", OU=NET=192.168.7.0/24, CN"))
        node.sas.show()
        node.ask(AuthorizeBinding(1, request(certificate=former)))
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        node.sas.certificates[2] = renewed
        node.sas.show()
        changes = node.changes
        await node.reauthorizer.rejudge()
        (peer,) = node.peers
        assert (peer.prefixes, node.changes, node.revoked) == ((ip_network("192.168.2.0/24"),), changes + 1, [])
        assert [kept.certificate for kept in store.load()] == [renewed]

    def test_a_former_certificate_that_nhrpd_kept_is_not_judged(self, node: WithCharon) -> None:
        """The peer has proved a later one; it would otherwise be denied, and called back for that, without end."""
        lacking = certificate(*UNITS[1:], not_before=NOW - YEAR)
        node.sas.arrive(1, OWN)
        node.sas.certificates[1] = certificate(*UNITS, not_before=NOW)
        node.sas.show()
        assert isinstance(node.ask(AuthorizeBinding(1, request(certificate=lacking))), Accept)
        assert isinstance(node.ask(AuthorizeBinding(2, request(certificate=lacking))), Accept)
        assert node.denials.take_readmitted() == ()

    async def test_a_peer_that_comes_back_with_another_name_is_not_thrown_out_for_a_moment(
        self, node: WithCharon
    ) -> None:
        """OUs are part of its IKE identity: it is unknown until the bridge has the certificate."""
        former = certificate(*UNITS, "NET=192.168.7.0/24", not_before=NOW - YEAR)
        node.sas.arrive(1, OWN.replace(", CN", ", OU=NET=192.168.7.0/24, CN"))
        node.sas.show()
        node.ask(AuthorizeBinding(1, request(certificate=former)))
        node.sas.settled = False
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert node.revoked == []
        node.sas.settled = True
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.CERTIFICATE_UNCONFIRMED]

    async def test_a_denied_peer_with_a_better_certificate_is_called(self, node: WithCharon) -> None:
        """nhrpd would not ask before a third of the holding time."""
        node.ask(AuthorizeBinding(1, request("GRE=10.255.0.2", "NET=192.168.2.0/24")))
        node.sas.arrive(2, OWN)
        node.sas.certificates[2] = better = certificate(*UNITS, not_before=NOW)
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert [asked.certificate for asked in node.denials.take_readmitted()] == [better]


class TestUnknownBindings:
    """Bindings in nhrpd's cache of peers that the agent does not know."""

    BOUND = request(certificate=None)

    @pytest.fixture
    def node(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> WithCharon:
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        return node

    def test_it_is_a_peer_by_the_certificate_of_its_ike_sa(self, node: WithCharon, store: MemoryStore) -> None:
        """nhrpd does not ask again about what it has bound; the next restart has it stored."""
        node.sas.certificates[1] = certificate()
        node.authorizer.judge_unknown([self.BOUND])
        assert [peer.protocol_address for peer in node.peers] == [ADDRESS]
        assert [kept.certificate for kept in store.load()] == [certificate()]

    def test_what_is_not_known_yet_decides_nothing(self, node: WithCharon) -> None:
        """charon's IKE_SAs may not have been read yet, or the bridge may not have the certificate."""
        node.authorizer.judge_unknown([self.BOUND])
        node.authorizer.judge_unknown([request(certificate=None, nbma_address=ip_address("203.0.113.99"))])
        assert (len(node.peers), len(node.denials)) == (0, 0)

    def test_who_may_not_be_there_is_denied(self, node: WithCharon) -> None:
        """It is denied once; without its event socket nhrpd binds every peer."""
        node.sas.leave(1)
        node.sas.arrive(2, "OU=GRE=10.255.0.9, CN=spoke1")
        node.sas.show()
        node.sas.certificates[2] = certificate("GRE=10.255.0.9")
        node.authorizer.judge_unknown([self.BOUND])
        node.authorizer.judge_unknown([self.BOUND])
        assert [denial.why.reason for denial in node.denials] == [Reason.PROTOCOL_ADDRESS_MISMATCH]
        assert len(node.authorizer.records) == 1
        assert node.changes == 1  # what FRR kept for whoever had the address goes now

    async def test_a_host_behind_a_peer_is_none(self, node: WithCharon) -> None:
        """A spoke's nhrpd binds the host that it resolved."""
        spoke = policy(replace(RULES, allows_hosts=True))
        node.reauthorizer.use_policy(spoke)
        await node.reauthorizer.rejudge()
        node.sas.certificates[1] = certificate()
        node.authorizer.judge_unknown([replace(self.BOUND, protocol_address=ip_address("192.168.2.7"))])
        assert (len(node.peers), len(node.authorizer.records)) == (0, 0)
