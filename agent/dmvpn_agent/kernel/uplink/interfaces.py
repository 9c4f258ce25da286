"""This node's interfaces: as the netlink watch knows them, and the tunnels' local addresses."""

from ipaddress import IPv4Address

from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.tunnel_local import read_local, set_local


class Interfaces:
    """Implements ``keeper.Kernel``."""

    def __init__(self, watch: KernelWatch) -> None:
        self._watch = watch

    def condition(self, interface: str) -> Condition:
        """Return whether an interface is up, and its first address."""
        link = self._watch.links.get(interface)
        if link is None:
            return Condition()
        return Condition(self._watch.first_address(link.index), link.running, link.direct)

    def local_address(self, tunnel: str) -> IPv4Address | None:
        """Return a tunnel's local address. Raises ``TunnelError``."""
        return read_local(tunnel)

    def set_local_address(self, tunnel: str, address: IPv4Address) -> None:
        """Change it. Raises ``TunnelError``."""
        set_local(tunnel, address)
