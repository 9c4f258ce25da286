"""``lint-policy``: what is wrong with a policy, and what is in force."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dmvpn_agent.cli.configuration_text import policy_text
from dmvpn_agent.config.file import findings, load_contradictory
from dmvpn_agent.policy.lint import Finding
from dmvpn_agent.runtime.output import say, say_lines


def run(file: Path, as_json: bool) -> int:
    """Print what is wrong with a policy; return 1 where it contradicts itself. Raises ``ConfigError``."""
    config = load_contradictory(file)
    policy, found = config.policy, findings(config)
    contradictory = any(finding.contradiction for finding in found)
    if as_json:
        shown = {
            "contradictory": contradictory,
            "findings": [dataclasses.asdict(finding) for finding in found],
            "policy": dataclasses.asdict(policy),
        }
        say(json.dumps(shown, default=str, indent=2))
    else:
        say_lines([*_findings(found), ""])
        say(policy_text(policy))
    return int(contradictory)


def _findings(found: Sequence[Finding]) -> Iterator[str]:
    contradictions = [finding for finding in found if finding.contradiction]
    doubtful = [finding for finding in found if not finding.contradiction]
    if contradictions:
        yield "CONTRADICTIONS, with which the agent does not start:"
        yield from (f"  {finding}" for finding in contradictions)
    if doubtful:
        yield "DOUBTFUL, worth a second look:"
        yield from (f"  {finding}" for finding in doubtful)
    if not found:
        yield "Nothing is wrong with the policy."
