"""Decisions per second through the real event socket.

nhrpd sends its questions one after another without waiting, on one connection; so does this. Each of a thousand
spokes has a certificate of its own. The first sight of a certificate parses it and writes the peer to the store;
later ones find it parsed. Another process asks, as nhrpd does.
"""

import asyncio
import socket
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import structlog

from bench.network import LARGE, address, units
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.garbage import search_seldom, spare_present_objects
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.table import table
from factories import NOW, der, event
from fakes.admission import Admission

SPOKES = 1000
ROUNDS = ("first sight", "repeated", "repeated again")


def _questions() -> bytes:
    """One question of each spoke."""
    return b"".join(
        event(number + 1, der(units(number), name=f"spoke{number}").hex(), remote_addr=str(address(number)))
        for number in range(SPOKES)
    )


def _ask(path: Path, questions: bytes) -> float:
    """Send all, read all answers, and return the seconds that took."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        started = time.perf_counter()
        client.sendall(questions)
        with client.makefile("rb") as stream:
            answers = list(islice(stream, 3 * SPOKES))
        took = time.perf_counter() - started
    accepted = answers.count(b"result=accept\n")
    if accepted != SPOKES:
        raise SystemExit(f"{accepted} of {SPOKES} were accepted")
    return took


async def _time_of_asking(directory: Path) -> float:
    argv = (sys.executable, "-m", "bench.decisions", str(directory))
    asker = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    said, _ = await asker.communicate()
    if asker.returncode:
        raise SystemExit("not all were accepted")
    return float(said)


async def _measure(directory: Path) -> list[tuple[object, ...]]:
    (directory / "questions").write_bytes(_questions())
    telemetry = Telemetry()
    store = Store(directory / "agent.sqlite", PeerTable.TABLE)
    store.open()
    admission = Admission(PeerTable(store), telemetry, Clocks(now=lambda: NOW), LARGE)
    events = NhrpdSocket(directory / "nhrp.sock", admission.authorizer, telemetry)
    await events.start()
    search_seldom()
    spare_present_objects()
    rows: list[tuple[object, ...]] = []
    decided = 0.0
    for name in ROUNDS:
        took = await _time_of_asking(directory)
        families = (family for family in telemetry.families() if family.metric is metrics.DECISION_DURATION)
        spent = sum(series.total for family in families for series in family.distributions.values()) - decided
        decided += spent
        rows.append((name, f"{SPOKES / took:.0f}", f"{took / SPOKES * 1e6:.0f}", f"{spent / SPOKES * 1e6:.0f}"))
    await events.stop()
    store.close()
    return rows


def main() -> None:
    """Measure and print one table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(_measure(Path(directory)))
    print(f"{SPOKES} spokes with a certificate each, one connection, logging off")
    print(table(("CERTIFICATES", "DECISIONS/S", "US EACH", "US DECIDING"), rows))


if __name__ == "__main__":
    print(_ask(Path(sys.argv[1]) / "nhrp.sock", (Path(sys.argv[1]) / "questions").read_bytes()))
