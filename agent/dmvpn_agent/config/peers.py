"""``[peers]``: the peers that the operator expects."""

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Table
from dmvpn_agent.view.settings import ExpectedPeer, PeersSettings


def read_peers(table: Table) -> PeersSettings:
    """Return the settings. Raises ``ConfigError``."""
    settings = PeersSettings(
        expected=tuple(_expected(row) for row in table.rows("expected")),
        learn=table.get("learn", parse.boolean, True),
    )
    names = [peer.name for peer in settings.expected]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"peers.expected has two rows with the name {twice}; expected one for each peer")
    return settings


def _expected(row: Table) -> ExpectedPeer:
    identity = row.get_or("identity", parse.text, "")
    address = row.get_or("protocol_address", parse.address, None)
    if identity and address:
        raise ConfigError(f"{row.name} has identity and protocol_address; expected one of them, or neither")
    return ExpectedPeer(row.get("name", parse.label), identity, address)
