"""The committed dashboard is the output of its program."""

import runpy
from pathlib import Path

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"


def test_the_dashboard_is_the_output_of_build() -> None:
    """dashboard.json is as deploy/grafana/build.py writes it; run that after a change."""
    built = runpy.run_path(str(GRAFANA / "build.py"))["build"]()
    assert built == (GRAFANA / "dashboard.json").read_text()
