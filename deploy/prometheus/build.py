"""Writes ``rules.yml``: the alerts of DMVPN nodes, for Prometheus.

With other arguments it prints them for your labels: ``build.py --selector 'cluster="eu"' --agent-job dmvpn
--runbook https://wiki.example.net/dmvpn`` limits every expression to series with these labels. Run it without
arguments after a change here; a test compares the committed file with its output.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from alerts import AGENT, BRIDGE, Alert

OUTPUT = Path(__file__).with_name("rules.yml")
#: Where the package's documentation is. Put the address of your own copy in its place with ``--runbook``, or with
#: ``dmvpn-agent example prometheus rules.yml --runbook URL``.
RUNBOOK = "file:///usr/share/doc/dmvpn-agent/runbook.md"


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs between installations."""

    selector: str = ""
    agent_job: str = "dmvpn-agent"
    bridge_job: str = "dmvpn-bridge"
    runbook: str = RUNBOOK


def rules(settings: Settings) -> str:
    """Return the rules as YAML; a string in JSON is one in YAML too."""
    lines = [
        "# Written by build.py. docs/runbook.md has a section for each alert. `critical`: traffic or admission is",
        "# affected, or will be at the next failure of another part. `warning`: act within the day.",
        "groups:",
    ]
    for name, alerts in ("dmvpn-agent", AGENT), ("dmvpn-bridge", BRIDGE):
        lines += [f"  - name: {name}", "    rules:"]
        for alert in alerts:
            lines += _rule(alert, settings)
    return "\n".join(lines) + "\n"


def expression(alert: Alert, settings: Settings) -> str:
    """Return the expression with the selector in each of its vectors."""
    text = alert.expression.replace("$agent", settings.agent_job).replace("$bridge", settings.bridge_job)
    if settings.selector:
        return text.replace("$s", settings.selector)
    return text.replace(",$s", "").replace("{$s}", "")


def _rule(alert: Alert, settings: Settings) -> Iterable[str]:
    yield f"      - alert: {alert.name}"
    yield f"        expr: {json.dumps(expression(alert, settings))}"
    if alert.lasts:
        yield f"        for: {alert.lasts}"
    yield f"        labels: {{severity: {alert.severity}}}"
    yield "        annotations:"
    yield f"          summary: {json.dumps(alert.summary)}"
    yield f"          runbook_url: {settings.runbook}#{alert.name.lower()}"


def main() -> None:
    """Write the file, or print it for other settings."""
    parser = argparse.ArgumentParser(description="the alerts of DMVPN nodes")
    parser.add_argument("--selector", help="label matchers for every expression, as 'cluster=\"eu\"'")
    parser.add_argument("--agent-job", help="the job that scrapes the agents; default dmvpn-agent")
    parser.add_argument("--bridge-job", help="the job that scrapes the bridges; default dmvpn-bridge")
    parser.add_argument("--runbook", metavar="URL", help="where docs/runbook.md is")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    if given:
        print(rules(Settings(**given)), end="")
    else:
        OUTPUT.write_text(rules(Settings()))


if __name__ == "__main__":
    main()
