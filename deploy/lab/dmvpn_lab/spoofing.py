"""Packets with a source address that the sender's site does not have: the action, and how many of them arrived."""

import time
from dataclasses import dataclass
from ipaddress import ip_address

from dmvpn_lab.lab import Lab
from dmvpn_lab.observation import Observation

_COUNT = """
add table inet forged
flush table inet forged
add chain inet forged arrived {{ type filter hook prerouting priority 0; }}
add rule inet forged arrived {family} saddr {address} counter
"""


@dataclass(frozen=True, slots=True)
class Spoof:
    """Send ``count`` packets with the source ``address`` from the host behind one node to that behind another."""

    source: str
    destination: str
    address: str
    count: int = 5

    def perform(self, lab: Lab) -> None:
        """Returns when they have arrived, if they do; how many did is kept for the expectation ``delivered``."""
        ipv6 = ip_address(self.address).version == 6
        host, target = lab.nodes[self.source].host, lab.nodes[self.destination].host
        target.run("nft", "-f", "-", text=_COUNT.format(family="ip6" if ipv6 else "ip", address=self.address))
        host.run("ip", "address", "replace", self.address, "dev", "lo", *(("nodad",) if ipv6 else ()))
        to = str(lab.nodes[self.destination].node.host(ipv6=ipv6))
        words = ("-n", "-c", str(self.count), "-i", "0.2", "-W", "1", "-I", self.address, to)
        host.run("ping", *words, statuses=(0, 1))
        time.sleep(0.5)
        shown = target.run("nft", "list", "chain", "inet", "forged", "arrived")
        arrived = int(shown.split("packets ")[1].split()[0])
        lab.forged[self.source, self.destination, self.address] = (self.count, arrived)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Of the packets that ``spoof`` sent last so many arrived: all of them, or none (``nothing``)."""

    source: str
    destination: str
    address: str
    nothing: bool = False

    def observe(self, lab: Lab) -> Observation:
        """Looks at what was counted behind the destination."""
        sent, arrived = lab.forged[self.source, self.destination, self.address]
        return Observation(arrived == (0 if self.nothing else sent), {"sent": sent, "arrived": arrived})
