"""The kernel that a VM boots is found by the names of either distribution."""

from pathlib import Path

import pytest

from dmvpn_lab.kernel import image
from dmvpn_lab.namespace import CommandError


def _machine(folder: Path, images: list[str], modules: list[str]) -> tuple[Path, Path]:
    boot, installed = folder / "boot", folder / "modules"
    for parent, names in ((boot, images), (installed, modules)):
        parent.mkdir()
        for name in names:
            (parent / name).mkdir()
    return boot, installed


@pytest.mark.parametrize(
    ("images", "modules", "found"),
    [
        (["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-50-amd64"], ["6.1.0-9-amd64", "6.1.0-50-amd64"], "6.1.0-50-amd64"),
        (["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-50-amd64"], ["6.1.0-9-amd64"], "6.1.0-9-amd64"),
        (["vmlinuz-virt"], ["6.18.9-0-virt"], "virt"),
        (["vmlinuz-lts", "vmlinuz-virt"], ["6.12.40-0-lts", "6.18.9-0-virt"], "virt"),
        (["vmlinuz-lts", "vmlinuz-virt"], ["6.12.40-0-lts"], "lts"),
    ],
)
def test_the_newest_with_modules_is_taken(images: list[str], modules: list[str], found: str, tmp_path: Path) -> None:
    """Debian's name is the release, Alpine's the flavour."""
    assert image(*_machine(tmp_path, images, modules)).name == f"vmlinuz-{found}"


def test_an_image_without_modules_is_none(tmp_path: Path) -> None:
    """The VM needs them; what to do is told."""
    with pytest.raises(CommandError, match=r"run deploy/lab/setup\.sh"):
        image(*_machine(tmp_path, ["vmlinuz-virt"], ["6.12.40-0-lts"]))
