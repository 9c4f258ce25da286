"""The terminals that the configuration selects."""

from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.frr.terminal import Terminal, WithFallback
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.frr.vtysh import Vtysh


class Terminals:
    """``reader``: the vty sockets, or vtysh while there is no connection. ``writer``: ``frr.bgp_transport``."""

    def __init__(self, frr: Frr) -> None:
        vtysh, sockets = Vtysh(frr.vtysh), VtySockets(frr.vty_directory)
        self.reader = WithFallback(sockets, vtysh)
        self.writer: Terminal = sockets if frr.bgp_transport == sockets.name else vtysh
