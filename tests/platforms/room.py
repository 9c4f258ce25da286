"""Runs commands in a root file system with namespaces of their own: no process stays, nothing outside changes."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Makes the root a container's: ``$1`` is the root, the rest the command. Each bind is ``outside:inside``.
_ENTER = """
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
# Device nodes of its own: an init that starts there makes and changes them.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    # shellcheck disable=SC2086  # name, major, minor
    set -- $node "$@"
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
    shift 3
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mknod -m 666 "$root/dev/net/tun" c 10 200
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
: >"$root/dev/console"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
if [ -e /etc/resolv.conf ]; then
    [ -e "$root/etc/resolv.conf" ] || : >"$root/etc/resolv.conf"
    mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
fi
mkdir -p "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
exec "$@"
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What a machine behind a proxy or a private CA sets for the package clients.
_HANDED_ON = ("PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "http_proxy", "https_proxy", "no_proxy")
_LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")


class RoomError(Exception):
    """A root could not be made, or a command in it failed; the text says which, and where its output is."""


@dataclass(frozen=True, slots=True)
class Room:
    """A root file system."""

    root: Path

    def run(self, argv: Sequence[str], log: Path) -> int:
        """Run a command in the root, as process 1; append what it prints to ``log``. Returns its exit status."""
        handed = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        environment = {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **handed}
        apart = (
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
        )
        with log.open("ab") as output:
            return subprocess.run(
                [*apart, "sh", "-euc", _ENTER, "sh", str(self.root), *argv],
                env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip

    def must(self, argv: Sequence[str], log: Path) -> None:
        """Run a command that has to succeed. Raises ``RoomError``."""
        if status := self.run(argv, log):
            raise RoomError(f"{' '.join(argv)[:200]}: exit status {status}; its output is in {log}")

    def trust_local_authorities(self, log: Path) -> None:
        """Have the root trust the CA certificates that this machine's operator added."""
        found = sorted(_LOCAL_AUTHORITIES.glob("*.crt"))
        if not found:
            return
        folder = self.root / _LOCAL_AUTHORITIES.relative_to("/")
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            (folder / one.name).write_bytes(one.read_bytes())
        self.must(["update-ca-certificates"], log)


def outside(argv: Sequence[str], log: Path) -> None:
    """Run a command of this machine. Raises ``RoomError``."""
    with log.open("ab") as output:
        status = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status:
        raise RoomError(f"{' '.join(argv)[:200]}: exit status {status}; its output is in {log}")


def install(needed: Mapping[str, str], log: Path) -> None:
    """Install the Debian packages whose programs this machine lacks; ``needed`` is package by program.

    Raises ``RoomError``.
    """
    missing = sorted({package for program, package in needed.items() if shutil.which(program) is None})
    if missing:
        outside(["apt-get", "-qq", "update"], log)
        outside(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing], log)


def clone(checkout: Path, into: Path, log: Path) -> None:
    """Clone the checkout as it is committed: uncommitted changes are not tried. Raises ``RoomError``."""
    outside(["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(checkout), str(into)], log)
