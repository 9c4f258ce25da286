"""The report of a run: a JSON document with evidence for every expectation."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dmvpn_lab import readings
from dmvpn_lab.lab import NOT_NOW, Lab, StepOutcome


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
                "after": None if outcome.after is None else round(outcome.after, 1),
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
