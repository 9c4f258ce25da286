"""A network namespace with a private mount namespace, held open by a process, and programs run in it.

The holder is a child of the lab's process, which is the first of a PID namespace: when the lab ends, however it
ends, the kernel ends everything in it, and with the processes the namespaces and their mounts go.
"""

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

#: Seconds that a command may take.
TIMEOUT = 60.0
_CLONE_NEWNET = 0x40000000
# The upper layer lies on a tmpfs of which only the overlay itself keeps hold.
_OVERLAY = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir={folder},upperdir=/mnt/upper,workdir=/mnt/work overlay {folder}
umount -l /mnt
"""
_HOLD = """
set -e
mount --make-rprivate /
sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
ip link set lo up
{mounts}
echo ready
exec cat
"""


class CommandError(Exception):
    """A program ended with a status other than 0. The text holds the command and what it printed."""


class Namespace:
    """One namespace pair.

    ``private`` are folders that begin as the machine's own, and what is changed in them stays in it; ``empty`` are
    folders that begin empty.
    """

    def __init__(self, name: str, private: Sequence[str] = (), empty: Sequence[str] = ()) -> None:
        self.name = name
        self._private = private
        self._empty = empty
        self._holder: subprocess.Popen[bytes] | None = None
        self._spawned: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Make the namespaces. Raises ``CommandError``."""
        mounts = [_OVERLAY.format(folder=folder) for folder in self._private]
        mounts += [f"mkdir -p {folder}; mount -t tmpfs -o mode=0755 tmpfs {folder}" for folder in self._empty]
        script = _HOLD.format(mounts="\n".join(mounts))
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise CommandError(f"{self.name}: the namespace could not be made")

    def stop(self) -> None:
        """Kill what stays in the namespaces, and with it all that the kernel has in them."""
        assert self._holder is not None, f"{self.name} is not started"
        for process in (*self._spawned, self._holder):
            process.kill()
            process.wait()
        self._spawned.clear()

    @property
    def pid(self) -> int:
        """The process that holds the namespaces."""
        assert self._holder is not None, f"{self.name} is not started"
        return self._holder.pid

    def path(self, inside: str) -> Path:
        """The path of a file of the namespace as seen from outside; it works for connecting to sockets too."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` in the namespace."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "--", *argv]

    def run(
        self, *argv: str, text: str | None = None, statuses: Sequence[int] = (0,), seconds: float = TIMEOUT
    ) -> str:
        """Run a program and return what it printed. Raises ``CommandError`` for another status, or if it is late."""
        return run(*self.command(argv), text=text, statuses=statuses, seconds=seconds)

    def result(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program; return its status and what it printed, both streams. Raises ``CommandError`` after 60 s."""
        try:
            done = subprocess.run(
                self.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"{' '.join(argv)}: no end after 60 s") from None
        return done.returncode, done.stdout

    def spawn(self, argv: Sequence[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start a program that stays, its output appended to ``log``."""
        process = subprocess.Popen(self.command(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._spawned.append(process)
        return process

    def connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection made inside the namespace. Raises ``OSError``."""
        result: list[socket.socket | OSError] = []

        def attempt() -> None:
            # setns(2) concerns the calling thread only, and this one ends here.
            try:
                with Path(f"/proc/{self.pid}/ns/net").open() as handle:
                    if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                result.append(socket.create_connection((host, port), timeout=10))
            except OSError as error:
                result.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        if isinstance(result[0], OSError):
            raise result[0]
        return result[0]


def run(*argv: str, text: str | None = None, statuses: Sequence[int] = (0,), seconds: float = TIMEOUT) -> str:
    """Run a program and return what it printed. Raises ``CommandError`` for another status, or if it is late."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(argv)}: no end after {seconds:g} s") from None
    if done.returncode not in statuses:
        output = (done.stdout + done.stderr).strip()
        raise CommandError(f"{' '.join(argv)}: status {done.returncode}: {output}")
    return done.stdout
