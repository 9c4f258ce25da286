"""The configuration of the multicast rule."""

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.kernel.nftables.multicast_rule import MulticastRule
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule


def read_multicast(table: Table, interfaces: tuple[str, ...]) -> MulticastRule | None:
    """Return the multicast rule, ``None`` if it is off. Raises ``ConfigError``."""
    enabled = table.get("enabled", parse.boolean, False)
    rule = MulticastRule(interfaces, table.get("nflog_group", parse.integer(1, 65535), 2))
    return rule if enabled else None


def refuse_shared_group(multicast: MulticastRule | None, redirect: RedirectRule | None) -> None:
    """Raise ``ConfigError`` if both rules log to one NFLOG group, which the kernel gives to one reader only."""
    if multicast and redirect and multicast.nflog_group == redirect.nflog_group:
        raise ConfigError(
            f"multicast.nflog_group and redirect.nflog_group are both {redirect.nflog_group}; expected two groups, as"
            " in nhrpd's `nhrp multicast-nflog-group` and `nhrp nflog-group`"
        )
