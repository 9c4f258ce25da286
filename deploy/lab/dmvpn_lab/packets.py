"""A few pings between the hosts behind nodes, and by which path the replies came."""

import re
from dataclasses import dataclass

from dmvpn_lab.lab import Lab
from dmvpn_lab.observation import Observation
from dmvpn_lab.pings import DIRECT, THROUGH_HUB

_REPLY = re.compile(r"icmp_seq=(\d+) ttl=(\d+)")


@dataclass(frozen=True, slots=True)
class Ping:
    """Ping the host behind one node from the host behind another, ``count`` packets, one a second.

    ``ipv6``: between their addresses in ``lan_ipv6``.
    """

    source: str
    destination: str
    count: int = 20
    ipv6: bool = False

    def perform(self, lab: Lab) -> None:
        """Returns after the last packet; the replies' TTLs are kept for the expectation ``shortcut``."""
        target = str(lab.nodes[self.destination].node.host(ipv6=self.ipv6))
        text = lab.nodes[self.source].host.run("ping", "-n", "-c", str(self.count), target, statuses=(0, 1))
        lab.replies[self.source, self.destination, self.ipv6] = (
            self.count,
            {int(number): int(ttl) for number, ttl in _REPLY.findall(text)},
        )


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The last ping between two LANs began through the hub, went direct within some packets, and kept its packets.

    One may be lost: if both ends have begun an IKE_SA, the surplus one ends 10 s later, and with it a packet on its
    way (docs/bridge.md, "Both nodes start at once").
    """

    source: str
    destination: str
    direct_within: int = 10
    ipv6: bool = False

    def observe(self, lab: Lab) -> Observation:
        """Looks at the replies' TTLs."""
        count, ttls = lab.replies.get((self.source, self.destination, self.ipv6), (0, {}))
        first_direct = min((number for number, ttl in ttls.items() if ttl == DIRECT), default=0)
        lost = [number for number in range(1, count + 1) if number not in ttls]
        lost_after = [number for number in lost if number > first_direct]
        before = ttls[min(ttls)] if ttls else None
        evidence = {
            "ttl_before": before,
            "ttl_after": ttls[max(ttls)] if ttls else None,
            "first_direct_packet": first_direct or None,
            "packets": count,
            "lost": lost,
            "lost_after_direct": lost_after,
            "ttls": ttls,
        }
        went_direct = 0 < first_direct <= self.direct_within and ttls[max(ttls)] == DIRECT
        return Observation(went_direct and before == THROUGH_HUB and len(lost_after) <= 1, evidence)
