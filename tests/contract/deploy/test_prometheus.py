"""Alerts and dashboard use series that exist, and each alert fires when it should."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from catalogue import CATALOGUE
from dmvpn_agent.runtime.metrics import PREFIX, Kind

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
EXPORTED = {PREFIX + metric.name + suffix for metric in CATALOGUE for suffix in SUFFIXES[metric.kind]}


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "promtool is not installed; on Debian: apt-get install --no-install-recommends prometheus"
    return subprocess.run(
        [program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "scrape.yml"),
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
        ("check", "rules", "../ca/rules.yml"),
        ("test", "rules", "../ca/rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    """The scrape configuration and the rules are valid, and every scenario raises exactly the alerts it lists."""
    done = _promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_scenario() -> None:
    """Each alert has a scenario in which it fires."""
    alerts = set(re.findall(r"alert: (\w+)", (PROMETHEUS / "rules.yml").read_text()))
    fired = set(re.findall(r'alertname="(\w+)"', (PROMETHEUS / "rules_test.yml").read_text()))
    assert alerts == fired


@pytest.mark.parametrize("file", ["prometheus/rules.yml", "prometheus/rules_test.yml", "grafana/dashboard.json"])
def test_only_series_of_the_catalogue_are_used(file: str) -> None:
    """No alert or panel uses a metric that was renamed or removed."""
    used = set(re.findall(rf"\b{PREFIX}\w+", (DEPLOY / file).read_text()))
    assert used
    assert used - EXPORTED == set()
