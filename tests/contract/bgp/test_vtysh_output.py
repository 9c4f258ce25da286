"""A vtysh that is missing, hangs, or prints something unexpected."""

from pathlib import Path

import pytest

from dmvpn_agent.bgp.bgpd import FrrUnavailable
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.vtysh import Vtysh


def _script(path: Path, text: str) -> FrrBgpd:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    vtysh = Vtysh(str(path), timeout=0.2)
    return FrrBgpd(vtysh, vtysh, Instance(65000))


async def test_a_missing_vtysh_is_unavailable() -> None:
    """The message names the program."""
    vtysh = Vtysh("/no/vtysh")
    bgpd = FrrBgpd(vtysh, vtysh, Instance(65000))
    with pytest.raises(FrrUnavailable, match=r"/no/vtysh cannot be started"):
        await bgpd.observe()


async def test_a_hanging_vtysh_is_unavailable(tmp_path: Path) -> None:
    """It is killed at the timeout."""
    with pytest.raises(FrrUnavailable, match=r"vtysh did not end within 0\.2 s"):
        await _script(tmp_path / "vtysh", "sleep 1000").observe()


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "echo oops",
        "echo Current configuration; exit 1",
        'echo "Current configuration:"; echo "ip prefix-list x seq y permit any"',
    ],
)
async def test_unexpected_output_is_unavailable(tmp_path: Path, text: str) -> None:
    """It is not an empty configuration: the agent would write everything again."""
    with pytest.raises(FrrUnavailable):
        await _script(tmp_path / "vtysh", text).observe()
