"""Asks the running agent which configuration it has applied, for ``dmvpn-agent doctor``."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from dmvpn_agent.doctor.node import RunningView
from dmvpn_agent.runtime.control_client import read_status


async def read_running(control_socket: Path, file: Path) -> RunningView | None:
    """Return it beside the file's last change; ``None`` if no agent answers, or one that is too old to say."""
    try:
        # That of the inode: a file that replaces another one may have content of an earlier time.
        changed = datetime.fromtimestamp((await asyncio.to_thread(file.stat)).st_ctime, UTC)
        applied = (await read_status(control_socket))["configuration"]
        return RunningView(
            str(file), changed, datetime.fromisoformat(applied["read"]), tuple(applied["restart_needed"])
        )
    except (OSError, TimeoutError, ValueError, LookupError, TypeError):
        return None
