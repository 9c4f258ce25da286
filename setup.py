"""Copies Prometheus' rules, Grafana's dashboards and the CA's services into the package, for ``example``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
EXAMPLES = {"prometheus": "*.yml", "grafana": "*.json", "ca": "*"}


class BuildWithExamples(build_py):
    """Builds the package with its examples; an editable install reads them from the checkout."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        for topic, pattern in EXAMPLES.items():
            folder = Path(self.build_lib) / "dmvpn_agent" / "examples" / topic
            folder.mkdir(parents=True, exist_ok=True)
            for file in (ROOT / "deploy" / topic).glob(pattern):
                shutil.copy(file, folder)


setup(cmdclass={"build_py": BuildWithExamples})
