"""What a step can do to the lab. The fields of each class are its keys in a scenario file."""

import signal
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from dmvpn_lab.constancy import Remember
from dmvpn_lab.packets import Ping, Traffic

if TYPE_CHECKING:
    from dmvpn_lab.lab import Lab


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
class Signal:
    """Send a signal to a daemon that goes on, as USR2 has the bridge upgraded, and HUP files read again."""

    node: str
    daemon: str
    signal: str

    def perform(self, lab: "Lab") -> None:
        """Returns at once."""
        lab.nodes[self.node].send(self.daemon, signal.Signals[f"SIG{self.signal}"])


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
class Revoke:
    """Have the CA revoke a node's certificate, and put the new CRL on one node, where its agent looks for CRLs."""

    node: str
    on: str

    def perform(self, lab: "Lab") -> None:
        """Returns when the CRL lies there; other nodes keep what they have."""
        lab.revoked.add(self.node)
        lab.nodes[self.on].publish(lab.authority.revocation_list(lab.revoked))


@dataclass(frozen=True, slots=True)
class Unrevoke:
    """Have the CA take a revocation back, and put the new CRL on one node."""

    node: str
    on: str

    def perform(self, lab: "Lab") -> None:
        """Returns when the CRL lies there."""
        lab.revoked.remove(self.node)
        lab.nodes[self.on].publish(lab.authority.revocation_list(lab.revoked))


ACTIONS = {
    "start": Start,
    "restart": Restart,
    "kill": Kill,
    "signal": Signal,
    "announce": Announce,
    "flush-nft": FlushNft,
    "remember": Remember,
    "ping": Ping,
    "traffic": Traffic,
    "revoke": Revoke,
    "unrevoke": Unrevoke,
}
