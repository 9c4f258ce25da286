"""A real PostgreSQL server for tests: Debian's or Alpine's, on a Unix socket only."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory


def programs() -> Path | None:
    """Where PostgreSQL's programs are; ``None`` without a server, its Python driver, or a user to run it."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return None
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/libexec").glob("postgresql*")]
    found = next((folder for folder in folders if (folder / "initdb").exists()), None)
    on_path = shutil.which("initdb")
    found = found or (Path(on_path).resolve().parent if on_path else None)
    return found if found and any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else None


class Server:
    """A running server. Each database that it makes is new."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries
        self._numbers = count(1)

    def run(self, program: str, *words: str) -> None:
        """Run a program as PostgreSQL's user, which may not be root."""
        command = [str(self._binaries / program), *words]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def new_database(self, owner: str = "postgres") -> str:
        """The URL of a new database."""
        name = f"registry{next(self._numbers)}"
        self.run("createdb", "-h", str(self._folder), "-O", owner, name)
        return f"postgresql://{owner}@/{name}?host={self._folder}"


@contextmanager
def server() -> Iterator[Server]:
    """A new server, stopped at the end."""
    binaries = programs()
    assert binaries
    with TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        made = Server(folder, binaries)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        data = str(folder / "data")
        made.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        made.run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield made
        finally:
            made.run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
