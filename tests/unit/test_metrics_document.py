"""``docs/metrics.md`` is the metrics catalogue for people."""

import re
from pathlib import Path

from catalogue import CATALOGUE
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.metrics import Kind

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def test_every_metric_is_documented_as_it_is() -> None:
    """Name, labels, type and help text equal the catalogue's, and each metric has advice."""
    rows = re.findall(
        r"^\| `(\w+)(?:\{(.*)\})?` \| (counter|gauge|histogram) \| (.+?) \| .+ \|$", DOCUMENT, re.MULTILINE
    )
    catalogue = {
        (
            metric.name + ("_total" if metric.kind is Kind.COUNTER else ""),
            ", ".join(metric.labels),
            metric.kind,
            metric.help,
        )
        for metric in CATALOGUE
    }
    assert len(rows) == len(CATALOGUE)
    assert set(rows) == catalogue


def test_every_reason_is_documented() -> None:
    """The table has each reason for a denial."""
    table = DOCUMENT.split("## Reasons")[1]
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert sorted(reason for row in rows for reason in re.findall(r"\w+", row)) == sorted(Reason)
