"""Answering nhrpd: a decision always, whatever goes wrong."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from dmvpn_agent.core import metrics
from dmvpn_agent.core.decision import Judge
from dmvpn_agent.core.model import Accept, Deny, Reason
from dmvpn_agent.core.policy import Trust
from dmvpn_agent.service import authorizer as module
from dmvpn_agent.service.authorizer import Authorizer, describe
from dmvpn_agent.service.peers import Peers
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.nhrp_event import AuthorizeBinding, BadEvent
from factories import ADDRESS, POLICY, RULES, Clock, policy, request
from fakes.frr import MemoryStore

GOOD = AuthorizeBinding(1, request())


class _Node:
    def __init__(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        self.changes = 0
        self.peers = Peers(store)
        self.authorizer = Authorizer(POLICY, self.peers, telemetry, clock, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def ask(self, event: AuthorizeBinding | BadEvent) -> Any:
        judgement = self.authorizer.decide(event)
        self.authorizer.settle(judgement)
        return judgement.decision


@pytest.fixture
def node(store: MemoryStore, telemetry: Telemetry, clock: Clock) -> _Node:
    return _Node(store, telemetry, clock)


def test_deciding_does_nothing_until_it_is_settled(node: _Node) -> None:
    """The answer goes out before anything slow."""
    judgement = node.authorizer.decide(GOOD)
    assert isinstance(judgement.decision, Accept)
    assert (len(node.peers), node.changes) == (0, 0)
    node.authorizer.settle(judgement)
    assert (len(node.peers), node.changes) == (1, 1)


def test_an_exception_denies(node: _Node, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mistake in the program ends in an accept, or in no answer."""

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Judge, "decide", broken)
    decision = node.ask(GOOD)
    assert decision.reason is Reason.INTERNAL_ERROR
    assert telemetry.value(metrics.DECISIONS, "deny", "internal_error") == 1


def test_an_exception_at_start_lets_nobody_in(
    node: _Node, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored peer that cannot be judged is not a peer, and the agent starts."""
    store.save(request())
    monkeypatch.setattr(Judge, "decide", lambda *_: 1 / 0)
    node.authorizer.start(Trust())
    assert len(node.peers) == 0


def test_an_event_that_cannot_be_read_is_denied_with_why(node: _Node, telemetry: Telemetry) -> None:
    """It is counted and remembered like any other."""
    decision = node.ask(BadEvent(5, "remote_addr is missing"))
    assert (decision.reason, decision.found) == (Reason.MALFORMED_EVENT, "remote_addr is missing")
    assert telemetry.value(metrics.DECISIONS, "deny", "malformed_event") == 1
    assert len(node.authorizer.judgements) == 1


def test_only_news_wake_the_reconciler(node: _Node) -> None:
    """A renewal of the same binding, or a stranger's denial, changes nothing in FRR."""
    for event in (GOOD, GOOD, AuthorizeBinding(2, request("GRE=10.255.0.9"))):
        node.ask(event)
    assert node.changes == 1


def test_a_new_policy_is_in_force_at_once(node: _Node, telemetry: Telemetry) -> None:
    """Peers that fail it are let go, and the next question is judged by it."""
    node.ask(GOOD)
    node.authorizer.reload(policy(replace(RULES, tunnel_networks=(ip_network("10.1.0.0/16"),))))
    assert ADDRESS not in node.peers
    assert telemetry.value(metrics.PEER_DEPARTURES, "protocol_address_outside_tunnel") == 1
    assert isinstance(node.ask(GOOD), Deny)


def test_a_decision_is_described_with_all_that_explains_it(node: _Node) -> None:
    """Log and status show the peer, the field, the value and the rule."""
    shown = describe(node.authorizer.decide(AuthorizeBinding(1, request("GRE=10.255.0.9"))))
    assert shown["decision"] == "deny"
    assert (shown["reason"], shown["field"], shown["found"]) == (
        "protocol_address_mismatch",
        "OU GRE",
        "10.255.0.9",
    )
    assert shown["protocol_address"] == str(ADDRESS)
    assert "CN=spoke1" in str(shown["subject"])


def test_every_decision_is_logged(node: _Node, logs: list[dict[str, Any]]) -> None:
    """An accept as information, a denial as a warning."""
    node.ask(GOOD)
    node.ask(AuthorizeBinding(2, request(certificate=None)))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("binding_decided", "info"),
        ("binding_decided", "warning"),
    ]


def test_remembered_decisions_are_bounded(node: _Node) -> None:
    """A flood of denials costs no memory."""
    judgement = node.authorizer.decide(BadEvent(None, "x"))
    for _ in range(module.REMEMBERED_DECISIONS + 1):
        node.authorizer.settle(judgement)
    assert len(node.authorizer.judgements) == module.REMEMBERED_DECISIONS
