"""``[log]``."""

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Table
from dmvpn_agent.runtime.log_settings import Log


def read_log(table: Table) -> Log:
    """Return the settings. Raises ``ConfigError``."""
    return Log(
        level=table.get("level", parse.one_of("debug", "info", "warning", "error"), "info"),
        format=table.get("format", parse.one_of("json", "console"), "json"),
    )
