"""What known peers cost in memory: as after ten thousand registrations, each decided, stored and remembered."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PEERS = 10_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _measure(directory: Path) -> None:
    import structlog

    from bench.network import LARGE, address, units
    from dmvpn_agent.admission.nhrp_event import parse_event
    from dmvpn_agent.admission.peer_table import PeerTable
    from dmvpn_agent.runtime.clocks import Clocks
    from dmvpn_agent.runtime.store import Store
    from dmvpn_agent.runtime.telemetry import Telemetry
    from factories import NOW, der, event
    from fakes.admission import Admission

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    store = Store(directory / "agent.sqlite", PeerTable.TABLE)
    store.open()
    admission = Admission(PeerTable(store), Telemetry(), Clocks(now=lambda: NOW), LARGE)

    def register(number: int) -> None:
        certificate = der.__wrapped__(units(number), name=f"spoke{number}")
        message = event(number + 1, certificate.hex(), remote_addr=str(address(number)))
        admission.authorizer.handle(parse_event(message[:-2]), lambda *_: True)

    for number in range(10):  # what is loaded and cached once is not the peers'
        register(number)
    before = _resident()
    for number in range(10, PEERS + 10):
        register(number)
    spent = _resident() - before
    if len(admission.peers) != PEERS + 10:
        raise SystemExit(f"{len(admission.peers)} of {PEERS + 10} were accepted")
    print(f"{PEERS} known peers: {spent / 1e6:.1f} MB above the idle process, {spent / PEERS:.0f} bytes each")


def main() -> None:
    """Measure in a process of its own."""
    subprocess.run([sys.executable, "-m", "bench.memory"], check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder))
