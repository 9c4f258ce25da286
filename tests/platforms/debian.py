"""Debian's releases: a minimal root by debootstrap, and the README's commands in a fresh clone in it."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from platforms.room import Room, clone, install, outside
from platforms.stage import Stage, tests, whole

#: Debian's releases by the name that the command line takes.
SUITES = {"debian-12": "bookworm", "debian-13": "trixie", "debian-sid": "sid"}
#: What a newcomer has before he clones: the README asks for no more.
_INCLUDED = "ca-certificates,git,make,python3"
#: The platforms with charon-systemd, which conflicts with strongswan-charon: set-up keeps it.
_WITH_CHARON_SYSTEMD = frozenset({"sid"})
_VERSIONS = (
    "dpkg-query -W -f '${source:Package} ${Version}\\n' frr strongswan-swanctl nftables linux-image-amd64 | sort -u;"
    " python3 --version"
)


def make(suite: str, checkout: Path, folder: Path, log: Path) -> Room:
    """Make a new root. Raises ``RoomError``."""
    install({"debootstrap": "debootstrap"}, log)
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    outside(["debootstrap", "--variant=minbase", f"--include={_INCLUDED}", suite, str(root)], log)
    clone(checkout, root / "root/dmvpn-agent", log)
    room = Room(root)
    room.trust_local_authorities(log)
    if suite in _WITH_CHARON_SYSTEMD:
        room.must(["apt-get", "-qq", "install", "-y", "--no-install-recommends", "charon-systemd"], log)
    return room


def stages(room: Room, *, demo: bool) -> tuple[Stage, ...]:
    """Return what is run in it, in order; ``demo``: the lab too."""

    def in_clone(command: str) -> Callable[[Path], int]:
        return partial(room.run, ("sh", "-c", f"cd /root/dmvpn-agent && {{ {command}; }}"))

    every = (
        Stage("set-up", in_clone("make setup")),
        Stage("versions", in_clone(_VERSIONS), whole),
        Stage("lint", in_clone("make lint")),
        Stage("unit, property", in_clone(".venv/bin/pytest -q tests/unit tests/property"), tests),
        Stage("contract", in_clone(".venv/bin/pytest -q tests/contract"), tests),
        Stage("demo", in_clone("make demo")),
    )
    return every if demo else every[:-1]
