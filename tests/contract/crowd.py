"""Another process that opens many connections and holds them: whoever listens tells it from nhrpd by that."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PROGRAM = """
import socket, sys
path, count, say = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
held = []
for _ in range(count):
    if ":" in path:
        host, port = path.rsplit(":", 1)
        one = socket.create_connection((host, int(port)))
    else:
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
    held.append(one)
    try:
        one.sendall(say)
    except OSError:
        pass
print("there", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def crowd(address: Path | str, count: int, say: bytes = b"") -> Iterator[None]:
    """Hold ``count`` connections to a path or to host:port from another process; on each it says ``say``."""
    argv = [sys.executable, "-c", _PROGRAM, str(address), str(count), say.hex()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield
        process.kill()
