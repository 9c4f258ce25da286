"""The ways to FRR that the configuration names."""

from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.frr.terminal import Terminal, WithFallback
from dmvpn_agent.frr.vty import VtySockets
from dmvpn_agent.frr.vtysh import Vtysh


class Terminals:
    """The ways to FRR that the configuration names: by the vty sockets where they are open, or by vtysh."""

    def __init__(self, frr: Frr) -> None:
        vtysh, sockets = Vtysh(frr.vtysh), VtySockets(frr.vty_directory)
        self.reader = WithFallback(sockets, vtysh)
        self.writer: Terminal = sockets if frr.bgp_transport == sockets.name else vtysh
