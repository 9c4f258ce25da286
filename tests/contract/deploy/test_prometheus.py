"""Alerts and dashboard use series that exist, and each alert fires when it should."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from catalogue import CATALOGUE
from contract.deploy.alert_scenarios import SCENARIOS, promtool_tests
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
        ("check", "rules", "../ca/rules.yml"),
        ("test", "rules", "../ca/rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    """The scrape configuration and the rules are valid."""
    done = _promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def _built() -> tuple[str, dict[str, tuple[str, str, str]]]:
    """Return the committed rules, and severity, summary and URL of each alert."""
    text = (PROMETHEUS / "rules.yml").read_text()
    found = re.findall(
        r"- alert: (\w+)\n(?:.*\n)*?.*severity: (\w+).*\n.*\n.*summary: (.*)\n.*runbook_url: (.*)\n", text
    )
    return text, {name: (severity, json.loads(summary), url) for name, severity, summary, url in found}


def test_the_rules_are_the_output_of_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """rules.yml is as deploy/prometheus/build.py writes it; run that after a change."""
    monkeypatch.syspath_prepend(PROMETHEUS)
    built = runpy.run_path(str(PROMETHEUS / "build.py"))
    assert built["rules"](built["Settings"]()) == _built()[0]


def test_each_scenario_raises_exactly_the_alerts_that_it_lists(tmp_path: Path) -> None:
    """With their labels and annotations."""
    tests = tmp_path / "tests.yml"
    tests.write_text(promtool_tests(str(PROMETHEUS / "rules.yml"), _built()[1]))
    done = _promtool("test", "rules", str(tests))
    assert done.returncode == 0, (done.stdout + done.stderr)[:5000]


def test_every_alert_fires_in_a_scenario() -> None:
    """Each alert has a scenario in which it fires."""
    assert set(_built()[1]) == {fired.alert for one in SCENARIOS for moment in one.fire.values() for fired in moment}


def test_every_alert_has_a_section_in_the_runbook() -> None:
    """With meaning, check and remedy, and the URL leads to it."""
    text = (DEPLOY.parent / "docs" / "runbook.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert set(sections) == set(_built()[1])
    for name, section in sections.items():
        assert re.findall(r"^- \*\*(\w+)\*\*: ", section, re.MULTILINE) == ["Meaning", "Check", "Remedy"]
        assert _built()[1][name][2].endswith(f"runbook.md#{name.lower()}")


def test_the_selector_limits_every_vector(tmp_path: Path) -> None:
    """Each metric in each expression has it, and promtool accepts the result."""
    built = runpy.run_path(str(PROMETHEUS / "build.py"))
    settings = built["Settings"](selector='cluster="eu"', agent_job="vpn")
    rules = tmp_path / "rules.yml"
    rules.write_text(built["rules"](settings))
    assert _promtool("check", "rules", str(rules)).returncode == 0
    for alert in (*built["AGENT"], *built["BRIDGE"]):
        expression = built["expression"](alert, settings)
        vectors = re.findall(r"\b(?:dmvpn_agent_\w+|up)\b(\{[^}]*\})?", expression)
        assert all('cluster="eu"' in vector or "job=" in vector for vector in vectors), alert.name


@pytest.mark.skipif(not shutil.which("amtool"), reason="needs amtool; on Debian: prometheus-alertmanager")
def test_amtool_accepts_the_inhibition_rules(tmp_path: Path) -> None:
    """In a configuration with a route, as an installation has it."""
    file = tmp_path / "alertmanager.yml"
    rules = (PROMETHEUS / "alertmanager.yml").read_text()
    file.write_text(f"route: {{receiver: nobody}}\nreceivers: [{{name: nobody}}]\n{rules}")
    done = subprocess.run(
        ["amtool", "check-config", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_inhibition_rules_name_alerts_that_exist() -> None:
    """Each name in alertmanager.yml, also in its patterns."""
    names = set(re.findall(r"Dmvpn\w+", (PROMETHEUS / "alertmanager.yml").read_text())) - {"Dmvpn"}
    assert names
    assert names <= set(_built()[1])


@pytest.mark.parametrize("file", ["prometheus/rules.yml"])
def test_only_series_of_the_catalogue_are_used(file: str) -> None:
    """No alert or panel uses a metric that was renamed or removed."""
    used = set(re.findall(rf"\b{PREFIX}\w+", (DEPLOY / file).read_text()))
    assert used
    assert used - EXPORTED == set()
