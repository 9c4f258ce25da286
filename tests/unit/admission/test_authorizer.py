"""Answering nhrpd: a decision always, whatever goes wrong."""

import asyncio
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from deciding import revoked
from dmvpn_agent.admission import authorizer as module
from dmvpn_agent.admission import metrics, reauthorizer
from dmvpn_agent.admission.decision_record import describe
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import OnConflict
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime import slices
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, NBMA, NOW, RULES, UNITS, YEAR, Clock, certificate, policy, request
from fakes.admission import Admission, WithCharon
from fakes.frr import MemoryStore
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
def node(store: MemoryStore, telemetry: Telemetry, clock: Clock) -> Admission:
    return Admission(store, telemetry, clock.both)


def test_the_answer_goes_out_before_anything_follows_from_it(node: Admission) -> None:
    """No store, FRR or log is touched before nhrpd has its answer."""
    answers: list[tuple[int, bool, int, int]] = []

    def reply(event_id: int, accept: bool) -> bool:
        answers.append((event_id, accept, len(node.peers), node.changes))
        return True

    node.authorizer.handle(GOOD, reply)
    assert answers == [(1, True, 0, 0)]
    assert (len(node.peers), node.changes) == (1, 1)


def test_nothing_follows_if_the_connection_is_closed(node: Admission) -> None:
    """nhrpd forgets its requests with their connection: it makes no binding."""
    node.authorizer.handle(GOOD, lambda *_: False)
    assert (len(node.peers), node.changes, len(node.authorizer.records)) == (0, 0, 0)


def test_a_failure_after_the_answer_does_no_harm(
    node: Admission, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nhrpd has its answer, and the failure is counted."""
    monkeypatch.setattr(node.peers, "apply_decision", lambda *_: 1 / 0)
    answers: list[bool] = []

    def reply(_: int, accept: bool) -> bool:
        answers.append(accept)
        return True

    node.authorizer.handle(GOOD, reply)
    assert answers == [True]
    assert telemetry.value(runtime_metrics.PART_FAILURES, "admission") == 1


def test_an_exception_denies(node: Admission, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mistake in the program ends in an accept, or in no answer."""

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Judge, "decide", broken)
    decision = node.ask(GOOD)
    assert decision.reason is Reason.INTERNAL_ERROR
    assert telemetry.value(metrics.DECISIONS, "deny", "internal_error") == 1


def test_an_exception_at_start_accepts_no_peer(
    node: Admission, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored peer that cannot be judged is not a peer, and the agent starts."""
    store.save(request())
    monkeypatch.setattr(Judge, "decide", lambda *_: 1 / 0)
    node.reauthorizer.start(Trust())
    assert len(node.peers) == 0


def test_an_event_that_cannot_be_read_is_denied_with_why(node: Admission, telemetry: Telemetry) -> None:
    """It is counted and remembered like any other."""
    decision = node.ask(BadEvent(5, "remote_addr is missing"))
    assert (decision.reason, decision.found) == (Reason.MALFORMED_EVENT, "remote_addr is missing")
    assert telemetry.value(metrics.DECISIONS, "deny", "malformed_event") == 1
    assert len(node.authorizer.records) == 1


def test_only_news_wake_the_reconciler(node: Admission) -> None:
    """A renewal of the same binding, or a stranger's denial, changes nothing in FRR."""
    for event in (GOOD, GOOD, AuthorizeBinding(2, request("GRE=10.255.0.9"))):
        node.ask(event)
    assert node.changes == 1


async def test_a_new_policy_is_in_force_at_once(node: Admission, telemetry: Telemetry) -> None:
    """Peers that fail it are let go, and the next question is judged by it."""
    node.ask(GOOD)
    node.reauthorizer.use_policy(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
    await node.reauthorizer.rejudge()
    assert ADDRESS not in node.peers
    assert telemetry.value(metrics.PEER_DEPARTURES, "protocol_address_outside_tunnel") == 1
    assert isinstance(node.ask(GOOD), Deny)


class TestAgain:
    """All peers are judged again after a change."""

    @pytest.fixture
    def node(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> WithCharon:
        node = WithCharon(store, telemetry, clock)
        node.sas.arrive(1, OWN)
        node.sas.show()
        return node

    async def test_a_revoked_peer_is_thrown_out_and_may_come_back(
        self, node: WithCharon, telemetry: Telemetry
    ) -> None:
        """By a CRL, and by a later one; the reconciler learns of the former."""
        node.ask(GOOD)
        changes = node.changes
        node.reauthorizer.use_trust(revoked(certificate().serial))
        await node.reauthorizer.rejudge()
        assert (ADDRESS in node.peers, node.changes) == (False, changes + 1)
        assert telemetry.value(metrics.PEER_DEPARTURES, "certificate_revoked") == 1
        assert [denial.why.reason for denial in node.denials] == [Reason.CERTIFICATE_REVOKED]
        node.reauthorizer.use_trust(revoked())
        await node.reauthorizer.rejudge()
        assert node.denials.take_readmitted() == (request(ike_peers=frozenset({PROVEN})),)
        assert len(node.denials) == 0

    async def test_one_revoked_while_the_agent_was_away_may_come_back_too(
        self, node: WithCharon, store: MemoryStore
    ) -> None:
        """It is remembered as denied from the start; charon let it in as little as the agent, and it is called."""
        node.sas.leave(1)
        node.sas.show()
        store.save(request())
        node.reauthorizer.start(revoked(certificate().serial))
        assert ADDRESS not in node.peers
        node.reauthorizer.use_trust(revoked())
        await node.reauthorizer.rejudge()
        assert node.denials.take_readmitted() == (request(),)

    @pytest.mark.parametrize("broken", ["certificates_complete", "certificates_at"])
    async def test_an_exception_keeps_no_peer(
        self, node: WithCharon, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        """It may be the revoked one of whom charon's word cannot be had."""
        node.ask(GOOD)
        monkeypatch.setattr(node.sas, broken, lambda *_: 1 / 0)
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.INTERNAL_ERROR]
        assert ADDRESS not in node.peers

    async def test_an_exception_about_one_stored_peer_keeps_no_other_out(
        self, node: WithCharon, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A peer that cannot be judged is denied; the next one is loaded."""
        store.save(request())
        store.save(replace(SECOND, nbma_address=NBMA + 1))
        monkeypatch.setattr(node.sas, "certificates_complete", lambda _, nbma: nbma != NBMA or 1 / 0)
        node.reauthorizer.start(Trust())
        assert [peer.protocol_address for peer in node.peers] == [ADDRESS + 1]

    async def test_a_certificate_that_expires_ends_the_peer(self, node: WithCharon, clock: Clock) -> None:
        """Nothing but time has changed."""
        node.ask(GOOD)
        clock.advance(366 * 86400)
        await node.reauthorizer.rejudge()
        assert [gone.why.reason for gone in node.revoked] == [Reason.CERTIFICATE_EXPIRED]

    async def test_a_pass_without_changes_triggers_nothing(self, node: WithCharon) -> None:
        """Admission again is done often."""
        node.ask(GOOD)
        changes = node.changes
        await node.reauthorizer.rejudge()
        assert node.changes == changes

    async def test_an_address_that_becomes_free_readmits_who_wanted_it(
        self, node: WithCharon, telemetry: Telemetry, clock: Clock
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
        await node.reauthorizer.rejudge()
        assert [asked.certificate for asked in node.denials.take_readmitted()] == [other.certificate]

    def test_who_is_accepted_is_denied_no_more(self, node: WithCharon, clock: Clock) -> None:
        """A peer that comes by itself needs no call."""
        other = request(certificate=certificate(name="double"), nbma_address=NBMA + 1)
        node.sas.arrive(2, OWN.replace("spoke1", "double"), NBMA + 1)
        node.sas.show()
        node.ask(GOOD)
        node.ask(AuthorizeBinding(2, other))
        assert len(node.denials) == 1
        clock.advance(61)
        assert isinstance(node.ask(AuthorizeBinding(3, other)), Accept)
        assert len(node.denials) == 0

    def test_who_takes_over_has_it(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        """If the policy says so: it is counted, and the earlier peer is removed."""
        by = policy(replace(RULES, on_conflict=OnConflict.TAKE_OVER), confirms_certificates=False)
        node = WithCharon(store, telemetry, clock, by)
        node.ask(AuthorizeBinding(1, request("GRE=10.255.0.3", *UNITS[1:], protocol_address=ADDRESS + 1)))
        node.ask(AuthorizeBinding(2, request(certificate=certificate(name="double"))))
        assert [peer.protocol_address for peer in node.peers] == [ADDRESS]
        assert telemetry.value(metrics.CONFLICTS, "taken_over") == 1
        assert telemetry.value(metrics.PEER_DEPARTURES, "taken_over") == 1

    async def test_of_two_peers_at_one_nbma_address_the_first_is_served(self, node: WithCharon) -> None:
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
        await node.reauthorizer.rejudge()
        assert [one.protocol_address for one in node.denials.take_readmitted()] == [ADDRESS + 1]

    async def test_of_two_that_came_unseen_the_later_one_goes(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The policy accepted both without asking charon."""
        node = WithCharon(store, telemetry, clock, policy(confirms_certificates=False))
        node.ask(GOOD)
        assert isinstance(node.ask(AuthorizeBinding(2, SECOND)), Accept)
        node.sas.arrive(1, OWN)
        node.sas.arrive(2, SECONDS_OWN, port=13043)
        node.sas.show()
        await node.reauthorizer.rejudge()
        assert [(gone.request.protocol_address, gone.why.reason) for gone in node.revoked] == [
            (ADDRESS + 1, Reason.NBMA_ADDRESS_CONFLICT)
        ]

    def test_a_renewed_certificate_is_no_conflict(self, node: WithCharon) -> None:
        """The same subject by the same issuer is the same peer."""
        node.ask(GOOD)
        renewed = request(certificate=certificate(not_after=NOW + 2 * YEAR))
        assert isinstance(node.ask(AuthorizeBinding(2, renewed)), Accept)
        node.sas.arrive(2, OWN.replace(", CN", ", OU=NET=192.168.7.0/24, CN"))
        node.sas.show()
        assert isinstance(node.ask(AuthorizeBinding(3, request(*UNITS, "NET=192.168.7.0/24"))), Accept)


def test_a_decision_is_described_with_all_that_explains_it(node: Admission) -> None:
    """Log and status show the peer, the field, the value and the rule."""
    node.ask(AuthorizeBinding(1, request("GRE=10.255.0.9")))
    shown = describe(node.authorizer.records[-1])
    assert shown["decision"] == "deny"
    assert (shown["reason"], shown["field"], shown["found"]) == (
        "protocol_address_mismatch",
        "OU GRE",
        "GRE=10.255.0.9",
    )
    assert shown["protocol_address"] == str(ADDRESS)
    assert "CN=spoke1" in str(shown["subject"])


def test_every_decision_is_logged(node: Admission, logs: list[dict[str, Any]]) -> None:
    """An accept as information, a denial as a warning."""
    node.ask(GOOD)
    node.ask(AuthorizeBinding(2, request(certificate=None)))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("binding_decided", "info"),
        ("binding_decided", "warning"),
    ]


def test_remembered_decisions_are_bounded(node: Admission) -> None:
    """A flood of denials costs no memory."""
    for _ in range(module.REMEMBERED_DECISIONS + 1):
        node.ask(BadEvent(None, "x"))
    assert len(node.authorizer.records) == module.REMEMBERED_DECISIONS


def test_what_looks_like_a_resource_and_is_not_taken_is_counted(node: Admission, telemetry: Telemetry) -> None:
    """With each question; the decision is by what is taken."""
    asked = request(*UNITS, "net=192.168.9.0/24", " NET=192.168.8.0/24")
    assert isinstance(node.ask(AuthorizeBinding(1, asked)), Accept)
    assert telemetry.value(metrics.OVERLOOKED_CLAIMS) == 2


async def test_nhrpd_is_answered_while_all_peers_are_judged_again(
    store: MemoryStore, telemetry: Telemetry, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between one peer and the next; by the policy that is in force, and what is answered then stands."""
    monkeypatch.setattr(slices, "SLICE", 0)
    node = Admission(store, telemetry, clock.both)
    node.ask(GOOD)
    node.ask(AuthorizeBinding(2, SECOND))
    judged: list[str] = []
    decide = Judge.decide

    def noted(judge: Judge, asked: BindingRequest, *others: Any) -> Any:
        judged.append(str(asked.protocol_address))
        return decide(judge, asked, *others)

    monkeypatch.setattr(Judge, "decide", noted)
    node.reauthorizer.use_policy(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
    judging = asyncio.create_task(node.reauthorizer.rejudge())
    while not judged:
        await asyncio.sleep(0)
    third = request(protocol_address=ADDRESS + 7)
    assert isinstance(node.ask(AuthorizeBinding(3, third)), Deny)
    await judging
    assert judged.index(str(ADDRESS + 7)) < judged.index(str(ADDRESS + 1))
    assert len(node.peers) == 0


async def test_a_new_policy_does_not_wait_for_charon(node: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    """News of IKE_SAs wait until the bridge has the certificates; a reload that comes meanwhile does not."""
    monkeypatch.setattr(reauthorizer, "REJUDGE_AFTER_SAS", 3600)
    node.ask(GOOD)
    async with running(node.reauthorizer.run()):
        node.reauthorizer.sas_changed()
        for _ in range(10):
            await asyncio.sleep(0)
        node.reauthorizer.use_policy(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
        await until(lambda: len(node.peers) == 0)


def test_peers_that_are_taken_up_late_are_news(node: Admission, store: MemoryStore) -> None:
    """CAs and CRLs that could not be read at the start are read later: FRR must follow at once."""
    store.save(request())
    node.decider.deny_until_trust()
    assert isinstance(node.ask(GOOD), Deny)
    assert node.changes == 0
    node.reauthorizer.use_trust(Trust())
    assert (ADDRESS in node.peers, node.changes) == (True, 1)


async def test_the_clock_alone_denies_in_time(node: Admission, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two passes over all peers, only those are judged whose certificate's or chain's time is up."""
    judged: list[BindingRequest] = []
    decide = Judge.decide

    def noted(judge: Judge, asked: BindingRequest, *others: Any) -> Any:
        judged.append(asked)
        return decide(judge, asked, *others)

    node.ask(GOOD)
    await node.reauthorizer.rejudge()
    monkeypatch.setattr(Judge, "decide", noted)
    await node.reauthorizer.rejudge(only_due=True)
    assert (judged, ADDRESS in node.peers) == ([], True)
    clock.advance((certificate().not_after - clock.now).total_seconds() + 1)
    await node.reauthorizer.rejudge(only_due=True)
    assert ({asked.protocol_address for asked in judged}, ADDRESS in node.peers) == ({ADDRESS}, False)
