"""Is this node healthy? The faults that ``status`` and the page show, from the state as JSON values."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dmvpn_agent.view.peer import Expectation, JoinedPeer
from dmvpn_agent.view.spans import counted
from dmvpn_agent.view.stage import Stage

#: Expected peers that a fault names; more are counted.
NAMED = 5
#: Days before the node's own certificate expires from which that is a fault.
EXPIRING = 7


def peer_counts(peers: Iterable[JoinedPeer]) -> dict[str, Any]:
    """Return how many peers there are, are up, are expected, and at each stage."""
    peers = tuple(peers)
    expected = [peer for peer in peers if peer.expected is not Expectation.NO]
    stages = Counter(peer.stage for peer in peers)
    return {
        "total": len(peers),
        "up": stages[Stage.UP],
        "expected": len(expected),
        "expected_up": sum(peer.up for peer in expected),
        "quarantined": sum(peer.quarantined for peer in peers),
        "stages": {str(stage): stages[stage] for stage in Stage},
    }


def faults(state: dict[str, Any], peers: Iterable[JoinedPeer]) -> list[str]:
    """Return what is wrong with the node, and the expected peers that are not up; empty if it is healthy."""
    return [*_node_faults(state), *_peer_faults(peers)]


def days_left(days: int) -> str:
    """Return for how many days a certificate is still valid, in words."""
    return f"expired {counted(-days, 'day')} ago" if days < 0 else f"has {counted(days, 'day')} left"


def _node_faults(state: dict[str, Any]) -> Iterator[str]:
    for tunnel in state["tunnel_interfaces"]:
        if not tunnel["up"]:
            yield f"the tunnel interface {tunnel['name']} is {'absent' if tunnel['up'] is None else 'down'}"
    hindered = {one["interface"]: f"{one['found']}: {one['do']}" for one in state["tunnels"]["problems"]}
    for name, left in () if state["dry_run"] else state["tunnels"]["left"].items():
        yield f"the tunnel interface {name} is not as configured: {hindered.get(name) or ', '.join(left)}"
    yield from _daemon_faults(state["nhrpd"], state["charon"])
    yield from _own_faults(state)
    if (frr := state["frr"]) is not None and not state["dry_run"]:
        if frr["trouble"]:
            yield f"FRR is not as desired: {frr['trouble']}"
        elif frr["pending_changes"] or frr["foreign_neighbors"]:
            yield "FRR is not as desired yet"
    yield from () if state["dry_run"] else _rule_faults(state)
    yield from _trust_faults(state["trust"])


def _rule_faults(state: dict[str, Any]) -> Iterator[str]:
    for name, key in (
        ("redirect rule", "redirect"), ("multicast rule", "multicast"), ("source filter", "source_filter"),
        ("GRE guard", "gre_guard"),
    ):  # fmt: skip
        if (part := state[key]) is not None and not part["installed"]:
            why = f": {part['refusal']}" if part.get("refusal") else ""
            yield f"the {name} is not installed{why}"


def _trust_faults(trust: dict[str, Any]) -> Iterator[str]:
    for problem in trust["problems"]:
        yield f"a CA or CRL file is not used: {problem}"
    for crl in trust["crls"]:
        if crl["outdated"]:
            yield (f"the CRL of {crl['issuer']} is outdated since {crl['next_update']}: later revocations are"
                   " unknown, and with policy.require_crl its peers are denied")  # fmt: skip


def _daemon_faults(nhrpd: dict[str, Any], charon: dict[str, Any]) -> Iterator[str]:
    if not nhrpd["connected"]:
        yield "nhrpd is not connected to the event socket"
    if nhrpd["trouble"]:
        yield f"nhrpd's cache cannot be read: {nhrpd['trouble']}"
    if not charon["connected"]:
        yield "charon is away, or does not answer"
    for own in charon.get("own_certificates", ()):
        if own["days_left"] < EXPIRING:
            yield f"this node's certificate {own['subject']} {days_left(own['days_left'])}"


def _own_faults(state: dict[str, Any]) -> Iterator[str]:
    if state["configuration"]["last_reload"] in {"refused", "failed"}:
        yield "the changed configuration is not in force: `dmvpn-agent check` says why"
    if not state["store"]["writable"]:
        where = state["store"]["directory"]
        yield f"{where} cannot be written: a restart loses what the agent learned; is the disk full, or read-only?"
    if (renewal := state["renewal"]) and renewal["trouble"]:
        yield f"this node's certificate is not renewed: {renewal['trouble']}"


def _peer_faults(peers: Iterable[JoinedPeer]) -> Iterator[str]:
    missing = [peer for peer in peers if peer.expected is not Expectation.NO and peer.stage is not Stage.UP]
    failed = [peer for peer in missing if peer.stage is not Stage.UNKNOWN]
    if failed:
        named = ", ".join(f"{peer.name} ({peer.stage})" for peer in failed[:NAMED])
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        verb = "is" if len(failed) == 1 else "are"
        yield f"{counted(len(failed), 'expected peer')} {verb} not up: {named}{more}"
