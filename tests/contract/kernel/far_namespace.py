"""A second network namespace for a test, and programs that run as long as the test needs them."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from contract.namespaces import command
from fakes.waiting import until


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; it is killed at the end."""
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@asynccontextmanager
async def far_namespace(near: str, far: str) -> AsyncIterator[tuple[str, ...]]:
    """Make a namespace and a cable to it, with these interfaces at its ends. Yields what runs a command there."""
    with process("unshare", "--net", "sleep", "3600") as holder:
        await until(
            lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != Path("/proc/thread-self/ns/net").readlink()
        )
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        command("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(holder.pid))
        command(*inside, "ip", "link", "set", far, "up")
        yield inside
