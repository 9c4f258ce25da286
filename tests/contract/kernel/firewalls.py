"""The firewalls of which a node may have one: nftables, and iptables in either variant."""

import os
import shutil
from pathlib import Path

import pytest

from contract.namespaces import needs

VARIANTS = ("iptables-nft", "iptables-legacy")

#: Tests of both variants of iptables.
each_variant = pytest.mark.parametrize(
    "variant", [pytest.param(variant, marks=needs(variant, f"ip6{variant[2:]}")) for variant in VARIANTS]
)


def choose(variant: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``iptables`` and its relatives this variant, as a distribution's links do."""
    found = shutil.which(variant)
    assert found is not None
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (directory / f"{name}{suffix}").symlink_to(Path(found).resolve())
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
