"""The committed dashboard is what its program builds."""

import runpy
from pathlib import Path

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"


def test_the_dashboard_is_what_build_writes() -> None:
    """dashboard.json is never edited by hand; after a change run deploy/grafana/build.py."""
    built = runpy.run_path(str(GRAFANA / "build.py"))["build"]()
    assert built == (GRAFANA / "dashboard.json").read_text()
