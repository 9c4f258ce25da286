"""``lint-policy``: the mistakes in a policy, and the rules in force."""

import dataclasses
from argparse import Namespace
from collections.abc import Iterator, Sequence

from dmvpn_agent.cli.configuration_text import policy_text
from dmvpn_agent.config.file import load_contradictory
from dmvpn_agent.config.findings import findings
from dmvpn_agent.policy.lint import Finding
from dmvpn_agent.runtime.output import say, say_json, say_lines


def run(arguments: Namespace) -> int:
    """Print the findings; return 1 if the policy contradicts itself. Raises ``ConfigError``."""
    config = load_contradictory(arguments.config)
    policy, found = config.policy, findings(config)
    contradictory = any(finding.contradiction for finding in found)
    if arguments.json:
        shown = {
            "contradictory": contradictory,
            "findings": [dataclasses.asdict(finding) for finding in found],
            "policy": dataclasses.asdict(policy),
        }
        say_json("lint-policy/1", shown)
    else:
        say_lines([*_text(found), ""])
        say(policy_text(policy))
    return int(contradictory)


def _text(found: Sequence[Finding]) -> Iterator[str]:
    contradictions = [finding for finding in found if finding.contradiction]
    doubtful = [finding for finding in found if not finding.contradiction]
    if contradictions:
        yield "CONTRADICTIONS: the agent does not start with this policy."
        yield from (f"  {finding}" for finding in contradictions)
    if doubtful:
        yield "DOUBTFUL: check whether you want this."
        yield from (f"  {finding}" for finding in doubtful)
    if not found:
        yield "The policy has no contradiction and nothing doubtful."
