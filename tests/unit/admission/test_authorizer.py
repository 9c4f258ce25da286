"""Answering nhrpd: a decision always, whatever goes wrong."""

import asyncio
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from deciding import revoked
from dmvpn_agent.admission import authorizer as module
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.decision_record import describe
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import OnConflict
from dmvpn_agent.runtime import slices
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NBMA, NOW, RULES, UNITS, YEAR, Clock, certificate, policy, request
from fakes.frr import MemoryStore
from fakes.judging import Judging, Witnessed
from fakes.waiting import running, until

GOOD = AuthorizeBinding(1, request())
OWN = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
PROVEN = IkePeer(OWN, has_certificate=True)
SECOND = request(
    protocol_address=ADDRESS + 1,
    certificate=certificate("GRE=10.255.0.3", "AS=64513", "NET=192.168.3.0/24", name="spoke2"),
)
SECONDS_OWN = "OU=GRE=10.255.0.3, OU=AS=64513, OU=NET=192.168.3.0/24, CN=spoke2"


@pytest.fixture
def node(store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Judging:
    return Judging(store, telemetry, clock)


def test_deciding_does_nothing_until_it_is_settled(node: Judging) -> None:
    """The answer goes out before anything slow."""
    judgement = node.authorizer.decide(GOOD)
    assert isinstance(judgement.decision, Accept)
    assert (len(node.peers), node.changes) == (0, 0)
    node.authorizer.settle(judgement)
    assert (len(node.peers), node.changes) == (1, 1)


def test_an_exception_denies(node: Judging, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mistake in the program ends in an accept, or in no answer."""

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Judge, "decide", broken)
    decision = node.ask(GOOD)
    assert decision.reason is Reason.INTERNAL_ERROR
    assert telemetry.value(metrics.DECISIONS, "deny", "internal_error") == 1


def test_an_exception_at_start_lets_nobody_in(
    node: Judging, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored peer that cannot be judged is not a peer, and the agent starts."""
    store.save(request())
    monkeypatch.setattr(Judge, "decide", lambda *_: 1 / 0)
    node.authorizer.start(Trust())
    assert len(node.peers) == 0


def test_an_event_that_cannot_be_read_is_denied_with_why(node: Judging, telemetry: Telemetry) -> None:
    """It is counted and remembered like any other."""
    decision = node.ask(BadEvent(5, "remote_addr is missing"))
    assert (decision.reason, decision.found) == (Reason.MALFORMED_EVENT, "remote_addr is missing")
    assert telemetry.value(metrics.DECISIONS, "deny", "malformed_event") == 1
    assert len(node.authorizer.records) == 1


def test_only_news_wake_the_reconciler(node: Judging) -> None:
    """A renewal of the same binding, or a stranger's denial, changes nothing in FRR."""
    for event in (GOOD, GOOD, AuthorizeBinding(2, request("GRE=10.255.0.9"))):
        node.ask(event)
    assert node.changes == 1


async def test_a_new_policy_is_in_force_at_once(node: Judging, telemetry: Telemetry) -> None:
    """Peers that fail it are let go, and the next question is judged by it."""
    node.ask(GOOD)
    node.authorizer.reload(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
    await node.authorizer.rejudge()
    assert ADDRESS not in node.peers
    assert telemetry.value(metrics.PEER_DEPARTURES, "protocol_address_outside_tunnel") == 1
    assert isinstance(node.ask(GOOD), Deny)


class TestAgain:
    """Everybody is judged again when something changed."""

    @pytest.fixture
    def node(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Witnessed:
        node = Witnessed(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        return node

    async def test_a_revoked_peer_is_thrown_out_and_may_come_back(
        self, node: Witnessed, telemetry: Telemetry
    ) -> None:
        """By a CRL, and by a later one; the reconciler learns of the former."""
        node.ask(GOOD)
        changes = node.changes
        node.authorizer.trust(revoked(certificate().serial))
        await node.authorizer.rejudge()
        assert (ADDRESS in node.peers, node.changes) == (False, changes + 1)
        assert telemetry.value(metrics.PEER_DEPARTURES, "certificate_revoked") == 1
        assert [denial.why.reason for denial in node.authorizer.denials] == [Reason.CERTIFICATE_REVOKED]
        node.authorizer.trust(revoked())
        await node.authorizer.rejudge()
        assert node.authorizer.denials.take_readmitted() == (request(ike_peers=frozenset({PROVEN})),)
        assert len(node.authorizer.denials) == 0

    async def test_one_revoked_while_the_agent_was_away_may_come_back_too(
        self, node: Witnessed, store: MemoryStore
    ) -> None:
        """It is remembered as denied from the start; charon let it in as little as the agent, and it is called."""
        node.sas.leave(1)
        node.sas.show()
        store.save(request())
        node.authorizer.start(revoked(certificate().serial))
        assert ADDRESS not in node.peers
        node.authorizer.trust(revoked())
        await node.authorizer.rejudge()
        assert node.authorizer.denials.take_readmitted() == (request(),)

    @pytest.mark.parametrize("broken", ["certificates_complete", "certificates_at"])
    async def test_an_exception_keeps_no_peer(
        self, node: Witnessed, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        """It may be the revoked one of whom charon's word cannot be had."""
        node.ask(GOOD)
        monkeypatch.setattr(node.sas, broken, lambda *_: 1 / 0)
        await node.authorizer.rejudge()
        assert [gone.why.reason for gone in node.gone] == [Reason.INTERNAL_ERROR]
        assert ADDRESS not in node.peers

    async def test_an_exception_about_one_stored_peer_keeps_no_other_out(
        self, node: Witnessed, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever cannot be judged is denied, and the next one is taken up."""
        store.save(request())
        store.save(replace(SECOND, nbma_address=NBMA + 1))
        monkeypatch.setattr(node.sas, "certificates_complete", lambda _, nbma: nbma != NBMA or 1 / 0)
        node.authorizer.start(Trust())
        assert [peer.protocol_address for peer in node.peers] == [ADDRESS + 1]

    async def test_a_certificate_that_expires_ends_the_peer(self, node: Witnessed, clock: Clock) -> None:
        """Nothing but time has changed."""
        node.ask(GOOD)
        clock.advance(366 * 86400)
        await node.authorizer.rejudge()
        assert [gone.why.reason for gone in node.gone] == [Reason.CERTIFICATE_EXPIRED]

    async def test_nothing_new_wakes_nobody(self, node: Witnessed) -> None:
        """Judging again is done often."""
        node.ask(GOOD)
        changes = node.changes
        await node.authorizer.rejudge()
        assert node.changes == changes

    async def test_an_address_that_becomes_free_readmits_who_wanted_it(
        self, node: Witnessed, telemetry: Telemetry, clock: Clock
    ) -> None:
        """Its holder has left."""
        other = request(certificate=certificate(name="double"), nbma_address=NBMA + 1)
        node.sas.arrive(2, OWN.replace("spoke1", "double"), NBMA + 1)
        node.sas.show()
        node.ask(GOOD)
        denied = node.ask(AuthorizeBinding(2, other))
        assert denied.reason is Reason.PROTOCOL_ADDRESS_CONFLICT
        assert telemetry.value(metrics.CONFLICTS, "denied") == 1
        clock.advance(61)
        await node.authorizer.rejudge()
        assert [asked.certificate for asked in node.authorizer.denials.take_readmitted()] == [other.certificate]

    def test_who_is_accepted_is_denied_no_more(self, node: Witnessed, clock: Clock) -> None:
        """A peer that comes by itself needs no call."""
        other = request(certificate=certificate(name="double"), nbma_address=NBMA + 1)
        node.sas.arrive(2, OWN.replace("spoke1", "double"), NBMA + 1)
        node.sas.show()
        node.ask(GOOD)
        node.ask(AuthorizeBinding(2, other))
        assert len(node.authorizer.denials) == 1
        clock.advance(61)
        assert isinstance(node.ask(AuthorizeBinding(3, other)), Accept)
        assert len(node.authorizer.denials) == 0

    def test_who_takes_over_has_it(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        """Where the policy says so; it is counted, and the former peer is let go."""
        by = policy(replace(RULES, on_conflict=OnConflict.TAKE_OVER), confirms_certificates=False)
        node = Witnessed(store, telemetry, clock, by)
        node.ask(AuthorizeBinding(1, request("GRE=10.255.0.3", *UNITS[1:], protocol_address=ADDRESS + 1)))
        node.ask(AuthorizeBinding(2, request(certificate=certificate(name="double"))))
        assert [peer.protocol_address for peer in node.peers] == [ADDRESS]
        assert telemetry.value(metrics.CONFLICTS, "taken_over") == 1
        assert telemetry.value(metrics.PEER_DEPARTURES, "taken_over") == 1

    async def test_of_two_peers_at_one_nbma_address_the_first_is_served(self, node: Witnessed) -> None:
        """As long as it has an IKE_SA with it; then the other one is called."""
        node.ask(GOOD)
        node.sas.arrive(2, SECONDS_OWN, port=13043)
        node.sas.show()
        denied = node.ask(AuthorizeBinding(2, SECOND))
        assert (denied.reason, denied.found) == (Reason.NBMA_ADDRESS_CONFLICT, str(SECOND.nbma_address))
        assert "CN=spoke1 (10.255.0.2)" in denied.expected
        assert isinstance(node.ask(GOOD), Accept)
        node.sas.leave(1)
        node.sas.show()
        await node.authorizer.rejudge()
        assert [one.protocol_address for one in node.authorizer.denials.take_readmitted()] == [ADDRESS + 1]

    async def test_of_two_that_came_unseen_the_later_one_goes(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """Both were accepted before charon was looked at, as the policy may have it."""
        node = Witnessed(store, telemetry, clock, policy(confirms_certificates=False))
        node.ask(GOOD)
        assert isinstance(node.ask(AuthorizeBinding(2, SECOND)), Accept)
        node.sas.arrive(1, OWN)
        node.sas.arrive(2, SECONDS_OWN, port=13043)
        node.sas.show()
        await node.authorizer.rejudge()
        assert [(gone.request.protocol_address, gone.why.reason) for gone in node.gone] == [
            (ADDRESS + 1, Reason.NBMA_ADDRESS_CONFLICT)
        ]

    def test_a_renewed_certificate_is_no_conflict(self, node: Witnessed) -> None:
        """The same subject by the same issuer is the same peer."""
        node.ask(GOOD)
        renewed = request(certificate=certificate(not_after=NOW + 2 * YEAR))
        assert isinstance(node.ask(AuthorizeBinding(2, renewed)), Accept)
        node.sas.arrive(2, OWN.replace(", CN", ", OU=NET=192.168.7.0/24, CN"))
        node.sas.show()
        assert isinstance(node.ask(AuthorizeBinding(3, request(*UNITS, "NET=192.168.7.0/24"))), Accept)


def test_a_decision_is_described_with_all_that_explains_it(node: Judging) -> None:
    """Log and status show the peer, the field, the value and the rule."""
    shown = describe(node.authorizer.decide(AuthorizeBinding(1, request("GRE=10.255.0.9"))))
    assert shown["decision"] == "deny"
    assert (shown["reason"], shown["field"], shown["found"]) == (
        "protocol_address_mismatch",
        "OU GRE",
        "GRE=10.255.0.9",
    )
    assert shown["protocol_address"] == str(ADDRESS)
    assert "CN=spoke1" in str(shown["subject"])


def test_every_decision_is_logged(node: Judging, logs: list[dict[str, Any]]) -> None:
    """An accept as information, a denial as a warning."""
    node.ask(GOOD)
    node.ask(AuthorizeBinding(2, request(certificate=None)))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("binding_decided", "info"),
        ("binding_decided", "warning"),
    ]


def test_remembered_decisions_are_bounded(node: Judging) -> None:
    """A flood of denials costs no memory."""
    judgement = node.authorizer.decide(BadEvent(None, "x"))
    for _ in range(module.REMEMBERED_DECISIONS + 1):
        node.authorizer.settle(judgement)
    assert len(node.authorizer.records) == module.REMEMBERED_DECISIONS


def test_what_looks_like_a_resource_and_is_not_taken_is_counted(node: Judging, telemetry: Telemetry) -> None:
    """With each question; the decision is by what is taken."""
    asked = request(*UNITS, "net=192.168.9.0/24", " NET=192.168.8.0/24")
    assert isinstance(node.ask(AuthorizeBinding(1, asked)), Accept)
    assert telemetry.value(metrics.OVERLOOKED_CLAIMS) == 2


async def test_nhrpd_is_answered_while_everybody_is_judged_again(
    store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between one peer and the next; by the policy that is in force, and what is answered then stands."""
    monkeypatch.setattr(slices, "SLICE", 0)
    node = Judging(store, telemetry, clock)
    node.ask(GOOD)
    node.ask(AuthorizeBinding(2, SECOND))
    judged: list[str] = []
    decide = Judge.decide

    def noted(judge: Judge, asked: BindingRequest, *others: Any) -> Any:
        judged.append(str(asked.protocol_address))
        return decide(judge, asked, *others)

    monkeypatch.setattr(Judge, "decide", noted)
    node.authorizer.reload(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
    judging = asyncio.create_task(node.authorizer.rejudge())
    while not judged:
        await asyncio.sleep(0)
    third = request(protocol_address=ADDRESS + 7)
    assert isinstance(node.ask(AuthorizeBinding(3, third)), Deny)
    await judging
    assert judged.index(str(ADDRESS + 7)) < judged.index(str(ADDRESS + 1))
    assert len(node.peers) == 0


async def test_a_new_policy_does_not_wait_for_charon(node: Judging, monkeypatch: pytest.MonkeyPatch) -> None:
    """News of IKE_SAs wait until the bridge has the certificates; a reload that comes meanwhile does not."""
    monkeypatch.setattr(module, "REJUDGE_AFTER_SAS", 3600)
    node.ask(GOOD)
    async with running(node.authorizer.run()):
        node.authorizer.sas_changed()
        for _ in range(10):
            await asyncio.sleep(0)
        node.authorizer.reload(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
        await until(lambda: len(node.peers) == 0)


def test_peers_that_are_taken_up_late_are_news(node: Judging, store: MemoryStore) -> None:
    """CAs and CRLs that could not be read at the start are read later: FRR must follow at once."""
    store.save(request())
    node.authorizer.deny_until_trust()
    assert isinstance(node.ask(GOOD), Deny)
    assert node.changes == 0
    node.authorizer.trust(Trust())
    assert (ADDRESS in node.peers, node.changes) == (True, 1)
