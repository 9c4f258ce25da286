"""``[frr]``, and how bgpd's configuration is written."""

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Table
from dmvpn_agent.frr.settings import Frr


def read_frr(table: Table, bgp: Table) -> Frr:
    """Return the settings. Raises ``ConfigError``."""
    return Frr(
        vtysh=table.get("vtysh", parse.text, "vtysh"),
        vty_directory=table.get("vty_directory", parse.path, "/run/frr"),
        bgp_transport=bgp.get("transport", parse.one_of("vtysh", "vty"), "vtysh"),
        coalesce=table.get("coalesce_seconds", parse.seconds(0, 60), 0.2),
        resync_interval=table.get("resync_seconds", parse.seconds(1, 3600), 30),
        linger=table.get("linger_seconds", parse.seconds(0, 86400), 600),
    )
