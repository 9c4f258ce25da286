"""``[ike]``."""

from dmvpn_agent.charon.settings import Ike
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Table


def read_ike(table: Table) -> Ike:
    """Return the settings. Raises ``ConfigError``."""
    return Ike(
        vici_socket=table.get("vici_socket", parse.path, "/run/charon.vici"),
        ends_denied=table.get("end_denied", parse.boolean, True),
        loads_crls=table.get("load_crls", parse.boolean, True),
    )
