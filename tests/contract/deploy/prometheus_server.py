"""A real Prometheus, with a history or with targets to scrape."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from fakes.waiting import until_now


class Prometheus:
    """A server that answers on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, **fields: str) -> Any:
        """Return the data of an answer of its API."""
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(fields)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def instant(self, query: str, time: float) -> list[dict[str, Any]]:
        """Return the series of a query at a moment."""
        data = self.ask("query", query=query, time=str(time))
        return list(data["result"]) if data["resultType"] == "vector" else [{"metric": {}, "value": data["result"]}]

    def range(self, query: str, start: float, end: float, step: int = 60) -> list[dict[str, Any]]:
        """Return the series of a query over time."""
        return list(self.ask("query_range", query=query, start=str(start), end=str(end), step=str(step))["result"])

    def is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def program(name: str) -> str:
    """Return the path of a program of Debian's package prometheus."""
    path = shutil.which(name)
    assert path, f"{name} is not installed; on Debian: apt-get install --no-install-recommends prometheus"
    return path


@contextmanager
def prometheus(folder: Path, config: str = "global: {}\n") -> Iterator[Prometheus]:
    """Run Prometheus with the blocks in ``folder/data``."""
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(argv)
    try:
        server = Prometheus(port)
        until_now(server.is_ready)
        yield server
    finally:
        process.kill()
        process.wait()


def load(folder: Path, history: Iterator[str]) -> None:
    """Write a history in OpenMetrics as blocks."""
    file = folder / "history.om"
    with file.open("w") as stream:
        for scrape in history:
            stream.write(scrape if scrape.endswith("\n") else scrape + "\n")
    argv = [
        program("promtool"),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        str(file),
        str(folder / "data"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
