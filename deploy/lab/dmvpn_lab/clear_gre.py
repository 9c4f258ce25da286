"""GRE without IPsec, sent to a node as if it came through the tunnel: the action."""

import time
from dataclasses import dataclass
from pathlib import Path

from dmvpn_lab import send_gre
from dmvpn_lab.lab import Lab
from dmvpn_lab.scenario import KEY

_COUNT = """
add table inet clear
flush table inet clear
add chain inet clear arrived { type filter hook prerouting priority 0; }
"""


@dataclass(frozen=True, slots=True)
class ClearGre:
    """Send ``count`` packets of each IP version from one node to the host behind another, with an outer ``address``.

    Inside are packets of a host behind the source, as in the tunnel.
    """

    source: str
    destination: str
    address: str
    count: int = 5

    def perform(self, lab: Lab) -> None:
        """Returns when they have arrived, if they do; how many did is kept for the expectation ``delivered``."""
        one, other = lab.nodes[self.source].node, lab.nodes[self.destination].node
        pairs = [(str(lan[66]), str(there[2])) for lan, there in zip(one.lans, other.lans, strict=True)]
        host = lab.nodes[self.destination].host
        rules = (
            f"add rule inet clear arrived ip{'6' if ':' in source else ''} saddr {source} counter\n"
            for source, _ in pairs
        )
        host.run("nft", "-f", "-", text=_COUNT + "".join(rules))
        words = (str(KEY), self.address, str(other.nbma_address), str(self.count))
        program = str(Path(send_gre.__file__))
        inner = (text for pair in pairs for text in pair)
        lab.nodes[self.source].space.run("python3", program, *words, *inner)
        time.sleep(1)
        shown = host.run("nft", "list", "chain", "inet", "clear", "arrived")
        arrived = sum(int(part.split()[0]) for part in shown.split("packets ")[1:])
        lab.forged[self.source, self.destination, self.address] = (self.count * len(pairs), arrived)
