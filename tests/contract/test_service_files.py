"""The files a user installs are accepted by the programs that read them."""

import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("openrc/*"), *DEPLOY.glob("apk/*")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_posix_shell_reads_the_script(script: Path) -> None:
    """Init scripts, their settings and the package recipe are plain POSIX shell: BusyBox runs them."""
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    """shellcheck finds nothing in them."""
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", ["dmvpn-agent", "dmvpn-bridge"])
def test_both_supervisors_grant_the_same(service: str) -> None:
    """OpenRC and systemd start a service with the same capability and no other."""
    script = (DEPLOY / f"openrc/{service}.initd").read_text()
    unit = (DEPLOY / f"systemd/{service}.service").read_text().splitlines()
    openrc = script.split('capabilities="^')[1].split('"')[0].upper()
    assert f"AmbientCapabilities={openrc}" in unit
    assert f"CapabilityBoundingSet={openrc}" in unit
