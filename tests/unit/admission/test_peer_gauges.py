"""What the gauges tell of the peers."""

from datetime import UTC, datetime
from ipaddress import ip_address
from types import SimpleNamespace
from typing import cast

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.gauges import observe_peers
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.runtime.telemetry import Telemetry


def _member(address: str, absent_since: datetime | None) -> SimpleNamespace:
    peer = SimpleNamespace(protocol_address=ip_address(address))
    return SimpleNamespace(peer=peer, absent_since=absent_since)


def test_a_peer_that_lingers_is_told_from_one_that_is_bound() -> None:
    """One that left nhrpd's cache still has what it had."""
    members = (_member("10.255.0.1", None), _member("10.255.0.2", datetime.now(UTC)))
    telemetry = Telemetry()
    observe_peers(telemetry, cast(Peers, SimpleNamespace(memberships=lambda: members)))
    assert telemetry.samples(metrics.PEERS) == {("bound",): 1, ("absent",): 1}
