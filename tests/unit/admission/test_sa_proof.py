"""Decisions by the certificates that peers proved to charon."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.admission.metrics import DECISION_DURATION
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import ADDRESS, NBMA, NOW, RULES, UNITS, YEAR, Clock, certificate, policy, request
from fakes.admission import WithCharon
from fakes.frr import MemoryStore

GOOD = AuthorizeBinding(1, request())
OWN = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


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

    @pytest.mark.parametrize("overdue", [True, False], ids=["for long", "for a moment"])
    async def test_the_name_alone_is_not_enough(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch, *, overdue: bool
    ) -> None:
        """However long the bridge says nothing: no time-out ends in an accept."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.settled, node.sas.overdue = False, overdue
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_AWAITED
        assert node.ask(GOOD).reason is Reason.CERTIFICATE_AWAITED  # as where no more requests may wait

    @pytest.mark.parametrize("foreign", [True, False], ids=["none of ours", "the one that nhrpd shows"])
    async def test_who_is_denied_for_that_is_called_once_the_bridge_has_said(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch, *, foreign: bool
    ) -> None:
        """Not before: it would be denied and called without end."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.settled, node.sas.overdue = False, True
        await node.ask_waiting(GOOD)
        await node.reauthorizer.rejudge()
        assert node.denials.take_readmitted() == ()
        if foreign:
            node.sas.find_no_certificate(OWN)
        else:
            node.sas.certificates[1] = certificate()
        await node.reauthorizer.rejudge()
        assert bool(node.denials.take_readmitted()) is not foreign

    async def test_an_accepted_peer_stays_while_the_bridge_says_nothing(self, node: WithCharon) -> None:
        """It has come back with another IKE_SA; one of another name puts it out."""
        node.sas.arrive(1, OWN)
        node.sas.show()
        await node.ask_waiting(GOOD)
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        node.sas.show()
        node.sas.settled, node.sas.overdue = False, True
        await node.reauthorizer.rejudge()
        assert (len(node.peers), node.revoked) == (1, [])
        node.sas.leave(2)
        node.sas.arrive(3, "CN=stranger")
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.CERTIFICATE_UNCONFIRMED]

    async def test_a_revoked_certificate_of_the_same_name_does_not_pass_for_its_successor(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """nhrpd still shows the renewed one; which of the two the IKE_SA is by, only the bridge can say."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.settled = False
        renewed = AuthorizeBinding(1, request(certificate=certificate(not_before=NOW)))
        assert (await node.ask_waiting(renewed)).reason is Reason.CERTIFICATE_AWAITED

    async def test_after_an_event_of_charon_the_last_read_does_not_do(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A namesake's IKE_SA has just replaced that of the peer whose certificate nhrpd shows."""
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.02)
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.leave(1)
        node.sas.arrive(2, OWN)
        node.sas.at_look(1, lambda: setattr(node.sas, "settled", False))
        node.sas.reported.add(NBMA)
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_AWAITED

    async def test_if_charon_does_not_answer_after_its_event_nobody_is_confirmed(self, node: WithCharon) -> None:
        """Nor where no more requests may wait for it."""
        node.sas.arrive(1, OWN)
        node.sas.show()
        node.sas.reported.add(NBMA)
        assert node.ask(GOOD).reason is Reason.CERTIFICATE_UNCONFIRMED
        node.sas.away = True
        assert (await node.ask_waiting(GOOD)).reason is Reason.CERTIFICATE_UNCONFIRMED

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
