"""The report of a run: a JSON document with evidence for every expectation, and a summary for people."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dmvpn_lab import readings
from dmvpn_lab.lab import NOT_NOW, Lab, StepOutcome

METRIC_PREFIX = "dmvpn_agent_"
_SHOWN_METRICS = 12


def make(lab: Lab, steps: Sequence[StepOutcome], error: str | None, kernel: str, seconds: float) -> dict[str, Any]:
    """The whole report; everything in it can be written as JSON. ``error`` is why the lab could not run, if so."""
    planned = lab.scenario.steps
    return {
        "scenario": lab.scenario.name,
        "title": lab.scenario.title,
        "true": error is None and len(steps) == len(planned) and all(step.true for step in steps),
        "error": error,
        "kernel": kernel,
        "seconds": round(seconds, 1),
        "steps": [_step(step) for step in steps],
        "not_reached": [step.title for step in planned[len(steps) :]],
        "nodes": {name: _node(lab, name) for name in lab.nodes if lab.nodes[name].started},
    }


def _step(step: StepOutcome) -> dict[str, Any]:
    return {
        "title": step.step.title,
        "true": step.true,
        "seconds": round(step.seconds, 1),
        "error": step.error,
        "do": [str(action) for action in step.step.do],
        "expect": [
            {
                "that": type(outcome.expectation).__name__,
                "keys": {key: str(value) for key, value in asdict(outcome.expectation).items() if value is not None},
                "true": outcome.observation.true,
                "evidence": outcome.observation.evidence,
            }
            for outcome in step.outcomes
        ],
    }


def _node(lab: Lab, name: str) -> dict[str, Any]:
    node = lab.nodes[name]
    looks = {
        "status": lambda: readings.status(node),
        "ike_sas": lambda: readings.ike_sas(node),
        "bgp_neighbors": lambda: readings.bgp_neighbors(node),
        "bgp_prefixes": lambda: readings.bgp_prefixes(node),
        "nhrp_cache": lambda: readings.nhrp_cache(node),
        "routes": lambda: readings.routes(node),
        "metrics": lambda: readings.metrics(node),
        "ended": node.dead,
    }
    seen: dict[str, Any] = {}
    for key, look in looks.items():
        try:
            seen[key] = look()
        except NOT_NOW as error:
            seen[key] = {"error": str(error)}
    return seen


def summary(report: dict[str, Any], hub: str) -> Iterator[str]:
    """The report for people, line by line; ``hub`` is the node it looks from."""
    seen = report["nodes"].get(hub, {})
    yield f"{report['title']}  ({report['seconds']:.0f} s, kernel {report['kernel']})"
    yield from _decisions(seen.get("status", {}))
    yield from _section("Security associations", [_sa(sa) for sa in _rows(seen.get("ike_sas"))])
    prefixes = seen.get("bgp_prefixes", {})
    yield from _section("BGP neighbors", [_neighbor(peer, prefixes) for peer in _rows(seen.get("bgp_neighbors"))])
    shortcuts = [item for step in report["steps"] for item in step["expect"] if item["that"] == "Shortcut"]
    yield from _section("Shortcuts", [_shortcut(item) for item in shortcuts])
    samples = [f"{k} {v:g}" for k, v in seen.get("metrics", {}).items() if k.startswith(METRIC_PREFIX)]
    yield from _section("Metrics (some)", samples[:_SHOWN_METRICS])
    yield from _section("What was expected", [line for step in report["steps"] for line in _verdict(step)])
    for title in report["not_reached"]:
        yield f"  not reached   {title}"
    if report["error"]:
        yield f"  could not run: {report['error']}"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield ""
    yield title
    yield from (f"  {line}" for line in lines or ["(none)"])


def _rows(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else []


def _decisions(status: dict[str, Any]) -> Iterator[str]:
    peers = [
        f"{peer['protocol_address']}  at {peer['nbma_address']}  AS {peer['as_number']}  may announce "
        + (", ".join(peer["prefixes"]) or "nothing")
        for peer in _rows(status.get("peers"))
    ]
    yield from _section("Peers", peers)
    lines = []
    for item in _rows(status.get("decisions")):
        line = f"{item['decision']}  {item['protocol_address']}  from {item['nbma_address']}"
        if item["decision"] != "accept":
            line += f"  {item['reason']}: {item['field']} {item['found']}, expected {item['expected']}"
        lines.append(line)
    yield from _section("Decisions", lines)


def _sa(sa: dict[str, Any]) -> str:
    children = ", ".join(f"{c['mode'].lower()} {c['state']} {c['spi_in']}/{c['spi_out']}" for c in sa["child_sas"])
    return f"#{sa['unique_id']} {sa['state']}  {sa['remote_host']}  {children}"


def _neighbor(peer: dict[str, Any], prefixes: dict[str, list[str]]) -> str:
    received = ", ".join(prefix for prefix, senders in prefixes.items() if peer["address"] in senders)
    return f"{peer['address']}  AS {peer['remote_as']}  {peer['state']}  received {received or 'nothing'}"


def _shortcut(item: dict[str, Any]) -> str:
    seen, keys = item["evidence"], item["keys"]
    return (
        f"{keys['source']} → {keys['destination']}: TTL {seen['ttl_before']} before, {seen['ttl_after']} after, "
        f"direct from packet {seen['first_direct_packet']} of {seen['packets']}, "
        f"{len(seen['lost'])} lost, {len(seen['lost_after_direct'])} of them after it went direct"
    )


def _verdict(step: dict[str, Any]) -> Iterator[str]:
    yield f"{'true ' if step['true'] else 'FALSE'} {step['seconds']:6.1f} s  {step['title']}"
    if step["error"]:
        yield f"        {step['error']}"
    for item in step["expect"]:
        if not item["true"]:
            yield f"        not true: {item['that']} {item['keys']}"
            yield f"        observed: {item['evidence']}"
