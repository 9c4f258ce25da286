"""The report of a run for people: peers and decisions, SAs, BGP, shortcuts, some metrics, and what was true."""

from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]
_METRICS = ("decisions_total", "peers", "ike_sas", "bgp_established", "changes_total", "redirect")


def lines(report: Record, hub: str) -> Iterator[str]:
    """The summary line by line; ``hub`` is the node it looks from."""
    seen = report["nodes"].get(hub, {})
    prefixes = _table(seen.get("bgp_prefixes"))
    names = tuple(f"dmvpn_agent_{name}" for name in _METRICS)
    yield f"{report['title']}  ({report['seconds']:.0f} s, kernel {report['kernel']})"
    yield from _section(f"Peers of {hub}", [_peer(peer) for peer in _rows(_table(seen.get("status")).get("peers"))])
    yield from _section(f"Decisions of {hub}", [_decision(item) for item in _decisions(report, hub)])
    yield from _section("Security associations", [_sa(sa) for sa in _rows(seen.get("ike_sas"))])
    yield from _section("BGP neighbors", [_neighbor(peer, prefixes) for peer in _rows(seen.get("bgp_neighbors"))])
    yield from _section("Shortcuts", [_shortcut(item) for item in _found(report, "Shortcut")])
    metrics = _table(seen.get("metrics"))
    yield from _section("Metrics (some)", [f"{k} {v}" for k, v in metrics.items() if k.startswith(names)])
    yield from _section("What was expected", [line for step in report["steps"] for line in _verdict(step)])
    for title in report["not_reached"]:
        yield f"  not reached     {title}"
    if report["error"]:
        yield f"  could not run: {report['error']}"


def _section(title: str, rows: Sequence[str]) -> Iterator[str]:
    yield ""
    yield title
    yield from (f"  {row}" for row in rows or ["(none)"])


def _rows(value: Any) -> list[Record]:
    return value if isinstance(value, list) else []


def _table(value: Any) -> Record:
    return value if isinstance(value, dict) else {}


def _found(report: Record, that: str) -> list[Record]:
    expected = [item for step in report["steps"] for item in step["expect"] if item["that"] == that]
    return [item for item in expected if isinstance(item["evidence"], dict)]


def _decisions(report: Record, hub: str) -> list[Record]:
    """All that were observed, and the agent's own list, which starts again when the agent does."""
    seen = [item["evidence"] for item in _found(report, "Decision") if item["keys"]["on"] == hub]
    seen += _rows(_table(report["nodes"].get(hub, {}).get("status")).get("decisions"))
    return sorted(
        {item["time"]: item for item in seen if "time" in item}.values(), key=lambda item: str(item["time"])
    )


def _peer(peer: Record) -> str:
    prefixes = ", ".join(peer["prefixes"]) or "nothing"
    return f"{peer['protocol_address']}  at {peer['nbma_address']}  AS {peer['as_number']}  may announce {prefixes}"


def _decision(item: Record) -> str:
    line = f"{item['decision']:6}  {item.get('protocol_address', '-')}  from {item.get('nbma_address', '-')}"
    if "reason" in item:
        line += f"  {item['reason']}: {item['field']} is {item['found']}; expected {item['expected']}"
    return line


def _sa(sa: Record) -> str:
    children = ", ".join(f"{c['mode'].lower()} {c['state']} {c['spi_in']}/{c['spi_out']}" for c in sa["child_sas"])
    return f"#{sa['unique_id']} {sa['state']}  {sa['remote_host']}  {children}"


def _neighbor(peer: Record, prefixes: Record) -> str:
    received = ", ".join(prefix for prefix, senders in prefixes.items() if peer["address"] in senders)
    return f"{peer['address']}  AS {peer['remote_as']}  {peer['state']}  received {received or 'nothing'}"


def _shortcut(item: Record) -> str:
    seen, keys = item["evidence"], item["keys"]
    return (
        f"{keys['source']} → {keys['destination']}: TTL {seen['ttl_before']} before, {seen['ttl_after']} after, "
        f"direct from packet {seen['first_direct_packet']} of {seen['packets']}, "
        f"{len(seen['lost'])} lost, {len(seen['lost_after_direct'])} of them after it went direct"
    )


def _verdict(step: Record) -> Iterator[str]:
    yield f"{'true ' if step['true'] else 'FALSE'} {step['seconds']:6.1f} s  {step['title']}"
    if step["error"]:
        yield f"        {step['error']}"
    for item in step["expect"]:
        if not item["true"]:
            keys = ", ".join(f"{key} {value}" for key, value in item["keys"].items())
            yield f"        not true: {item['that']}: {keys}"
            yield f"        observed: {item['evidence']}"
