"""The ``process_…`` metrics that Prometheus' client libraries define, of this process, from /proc (proc(5))."""

import os
import resource
from pathlib import Path

from dmvpn_agent.runtime.metrics import Metric, counter, gauge
from dmvpn_agent.runtime.telemetry import Samples, Telemetry

CPU = counter("process_cpu_seconds", "CPU time of the process, user and system.")
RESIDENT = gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.")
VIRTUAL = gauge("process_virtual_memory_bytes", "Address space of the process.")
OPEN_FDS = gauge("process_open_fds", "Open file descriptors.")
MAX_FDS = gauge("process_max_fds", "Limit of open file descriptors.")
THREADS = gauge("process_threads", "Threads of the process.")
START_TIME = gauge("process_start_time_seconds", "Unix time at which the process started.")

_ALL = (CPU, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, THREADS, START_TIME)
_PROC = Path("/proc/self")
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def observe_process(telemetry: Telemetry) -> None:
    """Export the figures of this process."""
    telemetry.observe_together(_ALL, _read)


def _read() -> dict[Metric, Samples]:
    # After the program's name in parentheses, which may contain anything, the first field is the third.
    fields = (_PROC / "stat").read_text(errors="replace").rpartition(")")[2].split()
    booted = int((_PROC.parent / "stat").read_text().partition("\nbtime ")[2].split()[0])
    values = {
        CPU: (int(fields[11]) + int(fields[12])) / _TICKS,
        RESIDENT: int(fields[21]) * _PAGE,
        VIRTUAL: int(fields[20]),
        OPEN_FDS: sum(1 for _ in (_PROC / "fd").iterdir()),
        MAX_FDS: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        THREADS: int(fields[17]),
        START_TIME: booted + int(fields[19]) / _TICKS,
    }
    return {metric: {(): float(value)} for metric, value in values.items()}
