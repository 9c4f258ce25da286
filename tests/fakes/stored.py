"""What the file of a running process holds: a process that is killed loses the changes of the last moment."""

from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.sqlite_file import StoreUnreadable, Table, read_file
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable


def rows_on_disk(path: Path, table: Table[Any, Any]) -> int:
    """Return how many rows are on the disk."""
    try:
        return len(read_file(path, table, Unreadable(Telemetry())))
    except StoreUnreadable:
        return 0
