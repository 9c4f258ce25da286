"""Who did what in the registry."""

import getpass
import socket

from sqlalchemy import Connection, insert

from dmvpn_agent.ca import schema
from dmvpn_agent.runtime.clocks import utc_now


def record(connection: Connection, action: str, detail: str) -> None:
    """Add a line to the registry's log, with the name of who runs this command."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    operator = f"{user}@{socket.gethostname()}"[:64]
    row = {"at": utc_now(), "operator": operator, "action": action, "detail": detail}
    connection.execute(insert(schema.audit), row)
