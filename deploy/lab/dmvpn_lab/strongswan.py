"""The two ways to have nhrpd and strongSwan on a node: by the bridge, or natively where charon is patched."""

import os
from dataclasses import dataclass
from pathlib import Path

from dmvpn_lab.namespace import CommandError

# Debian has two packages of it, of which only one can be installed: strongswan-charon and charon-systemd.
_CHARONS = (
    "/usr/lib/ipsec/charon",
    "/usr/sbin/charon-systemd",
    "/usr/lib/strongswan/charon",
    "/usr/libexec/ipsec/charon",
)
# An event that only a patched charon has: its name stands in the vici plugin.
_PATCHED_EVENT = b"child-state-installed"


@dataclass(frozen=True, slots=True)
class Mode:
    """``socket`` is where charon's own VICI socket is."""

    name: str
    bridge: bool
    socket: str


MODES = {
    mode.name: mode
    for mode in (
        Mode("bridged", bridge=True, socket="/run/charon.real.vici"),
        Mode("native", bridge=False, socket="/run/charon.vici"),
    )
}


def charon() -> Path:
    """The charon that the nodes run: what ``CHARON`` in the environment names, else the machine's own."""
    named = os.environ.get("CHARON")
    found = [Path(path) for path in ((named,) if named else _CHARONS) if Path(path).exists()]
    return found[0] if found else Path(named or _CHARONS[0])


def check(mode: Mode) -> None:
    """See that charon can be run in this mode. Raises ``CommandError``, which says what is missing."""
    if not mode.bridge and not _patched(charon()):
        raise CommandError(
            f"skipped: mode = 'native' needs a strongSwan with Alpine's patches, and {charon()} has none of them; "
            "CHARON=/path/to/charon names another one"
        )


def _patched(program: Path) -> bool:
    """Whether the vici plugin knows the event."""
    plugin = find_plugin(program, "vici")
    return plugin is not None and _PATCHED_EVENT in plugin.read_bytes()


def find_plugin(program: Path, name: str) -> Path | None:
    """The path of a charon's plugin: beside it (Debian, Alpine) or under lib of its prefix; or ``None``."""
    places = [program.parent / "plugins"]
    places += [prefix / lib / "ipsec/plugins" for prefix in program.parents[1:3] for lib in ("lib", "lib64")]
    files = [place / f"libstrongswan-{name}.so" for place in places]
    return next((file for file in files if file.exists()), None)
