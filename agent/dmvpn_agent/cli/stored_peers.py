"""The stored peers, judged as an agent that starts now would judge them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peer_table import read_peers
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.explain.context import JudgingContext
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import uptime


class _ReadOnlyTable:
    """The stored requests; changes are not stored."""

    def __init__(self, requests: Iterable[BindingRequest]) -> None:
        self._requests = tuple(requests)

    def load(self) -> Iterable[BindingRequest]:
        return self._requests

    def save(self, request: BindingRequest) -> None:
        pass

    def remove(self, address: Address) -> None:
        pass


@dataclass(frozen=True, slots=True)
class StoredPeers:
    """The peers that are accepted, and those that are denied.

    ``restricted``: the denied ones in quarantine, for the rules that go on to hold for them.
    """

    accepted: tuple[Peer, ...] = ()
    denied: tuple[Revoked, ...] = ()
    restricted: tuple[Peer, ...] = ()


def judged(context: JudgingContext, bound: frozenset[Address]) -> StoredPeers:
    """Judge the stored peers; ``bound``: what nhrpd has bound. Raises ``StoreUnreadable``."""
    stored = _ReadOnlyTable(read_peers(context.config.state_directory / "agent.sqlite"))
    peers, now = Peers(stored), datetime.now(UTC)
    denied = peers.load(
        lambda request: context.judge.decide(request, now),
        uptime(),
        lambda request: context.judge.authorized_peer(request, now),
    )
    peers.resolve_stored_conflicts(bound, uptime())
    return StoredPeers(tuple(peers), denied, tuple(peers.denied))
