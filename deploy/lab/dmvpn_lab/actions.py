"""What a step can do to the lab. The fields of each class are its keys in a scenario file."""

import re
import signal
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from dmvpn_lab import readings

if TYPE_CHECKING:
    from dmvpn_lab.lab import Lab

_REPLY = re.compile(r"icmp_seq=(\d+) ttl=(\d+)")


@dataclass(frozen=True, slots=True)
class Start:
    """Start a node that is ``late``."""

    node: str

    def perform(self, lab: "Lab") -> None:
        """Returns when its daemons serve."""
        lab.start_nodes([self.node])


@dataclass(frozen=True, slots=True)
class Restart:
    """End a daemon by a signal, and start it again."""

    node: str
    daemon: str
    signal: str = "TERM"

    def perform(self, lab: "Lab") -> None:
        """Returns when the daemon serves again."""
        node = lab.nodes[self.node]
        node.kill(self.daemon, signal.Signals[f"SIG{self.signal}"])
        node.start_daemon(self.daemon)


@dataclass(frozen=True, slots=True)
class Kill:
    """End a daemon by a signal, and leave it so."""

    node: str
    daemon: str
    signal: str = "KILL"

    def perform(self, lab: "Lab") -> None:
        """Returns when the daemon has ended."""
        lab.nodes[self.node].kill(self.daemon, signal.Signals[f"SIG{self.signal}"])


@dataclass(frozen=True, slots=True)
class Announce:
    """Have a node announce a prefix by BGP, whether it is entitled to it or not."""

    node: str
    prefix: IPv4Network

    def perform(self, lab: "Lab") -> None:
        """Returns when bgpd has it in its configuration."""
        node = lab.nodes[self.node]
        commands = [
            "configure terminal",
            f"ip route {self.prefix} blackhole",
            f"router bgp {node.node.as_number}",
            "address-family ipv4 unicast",
            f"network {self.prefix}",
        ]
        node.space.run("vtysh", *(word for command in commands for word in ("-c", command)))


@dataclass(frozen=True, slots=True)
class FlushNft:
    """Flush all nftables rules of a node, as somebody else's firewall script may."""

    node: str

    def perform(self, lab: "Lab") -> None:
        """Returns when the ruleset is empty."""
        lab.nodes[self.node].space.run("nft", "flush", "ruleset")


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a node's IKE_SAs, BGP sessions and routes, for the expectation ``unchanged``."""

    node: str

    def perform(self, lab: "Lab") -> None:
        """Overwrites what was remembered before."""
        lab.remembered[self.node] = snapshot(lab, self.node)


@dataclass(frozen=True, slots=True)
class Ping:
    """Ping the host behind one node from the host behind another, ``count`` packets, one a second."""

    source: str
    destination: str
    count: int = 20

    def perform(self, lab: "Lab") -> None:
        """Returns after the last packet; the replies' TTLs are kept for the expectation ``shortcut``."""
        target = str(lab.nodes[self.destination].node.lan[2])
        text = lab.nodes[self.source].host.run("ping", "-n", "-c", str(self.count), target, statuses=(0, 1))
        lab.replies[self.source, self.destination] = (
            self.count,
            {int(number): int(ttl) for number, ttl in _REPLY.findall(text)},
        )


def snapshot(lab: "Lab", name: str) -> dict[str, Any]:
    """What must not change while the agent restarts: the identity of SAs and sessions, and the routes."""
    node = lab.nodes[name]
    return {
        "ike_sas": {
            f"{sa['initiator_spi']}:{sa['responder_spi']}": sa["unique_id"]
            for sa in readings.ike_sas(node)
            if sa["state"] == "ESTABLISHED"
        },
        "bgp_sessions": {
            peer["address"]: [peer["connections_established"], peer["connections_dropped"]]
            for peer in readings.bgp_neighbors(node)
            if peer["state"] == "Established"
        },
        "routes": readings.routes(node),
    }


ACTIONS = {
    "start": Start,
    "restart": Restart,
    "kill": Kill,
    "announce": Announce,
    "flush-nft": FlushNft,
    "remember": Remember,
    "ping": Ping,
}
