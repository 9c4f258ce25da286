"""``[bridge]``."""

from dmvpn_agent.bridge.settings import Bridge
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Table


def read_bridge(table: Table) -> Bridge:
    """Return the settings. Raises ``ConfigError``."""
    return Bridge(
        listen=table.get("listen", parse.path, "/run/dmvpn-agent/charon.vici"),
        metrics=table.get("metrics_listen", parse.endpoint, "127.0.0.1:19343"),
        init_limit_half_open=table.get("init_limit_half_open", parse.integer(0, 1_000_000), 0),
        init_limit_job_load=table.get("init_limit_job_load", parse.integer(0, 1_000_000), 0),
    )
