"""Who did what in the registry."""

import getpass
import socket

from sqlalchemy import Connection, insert

from dmvpn_agent.ca import schema
from dmvpn_agent.runtime.clocks import utc_now


def record(connection: Connection, action: str, detail: str, operator: str = "") -> None:
    """Add a line to the registry's log; ``operator``: who it was, if not who runs this command."""
    row = {"at": utc_now(), "operator": (operator or _who_runs_this())[:64], "action": action, "detail": detail}
    connection.execute(insert(schema.audit), row)


def _who_runs_this() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
