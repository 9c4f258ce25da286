"""What a step can do to the lab. The fields of each class are its keys in a scenario file."""

import signal
import time
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from dmvpn_lab.clear_gre import ClearGre
from dmvpn_lab.collision import BothStart
from dmvpn_lab.constancy import Remember
from dmvpn_lab.lab import Lab
from dmvpn_lab.node import PROFILE
from dmvpn_lab.packets import Ping
from dmvpn_lab.spoofing import Spoof
from dmvpn_lab.traffic import Traffic

if TYPE_CHECKING:
    from dmvpn_lab.ca import Ca


@dataclass(frozen=True, slots=True)
class Start:
    """Start a node that is ``late``, or was powered off."""

    node: str

    def perform(self, lab: Lab) -> None:
        """Returns when its daemons serve."""
        lab.start_nodes([self.node])


@dataclass(frozen=True, slots=True)
class PowerOff:
    """End a node as a power failure does: no daemon says good-bye, and only its disk remains."""

    node: str

    def perform(self, lab: Lab) -> None:
        """Returns when it is gone; ``start`` starts it again."""
        lab.power_off(self.node)


@dataclass(frozen=True, slots=True)
class Restart:
    """End a daemon by a signal, and start it again."""

    node: str
    daemon: str
    signal: str = "TERM"

    def perform(self, lab: Lab) -> None:
        """Returns when the daemon serves again."""
        lab.nodes[self.node].restart_daemon(self.daemon, signal.Signals[f"SIG{self.signal}"])


@dataclass(frozen=True, slots=True)
class Kill:
    """End a daemon by a signal, and leave it so."""

    node: str
    daemon: str
    signal: str = "KILL"

    def perform(self, lab: Lab) -> None:
        """Returns when the daemon has ended."""
        lab.nodes[self.node].kill(self.daemon, signal.Signals[f"SIG{self.signal}"])


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to a daemon that goes on, as USR2 has the bridge upgraded, and HUP files read again."""

    node: str
    daemon: str
    signal: str

    def perform(self, lab: Lab) -> None:
        """Returns at once."""
        lab.nodes[self.node].send(self.daemon, signal.Signals[f"SIG{self.signal}"])


@dataclass(frozen=True, slots=True)
class Announce:
    """Have a node announce a prefix by BGP, whether it is entitled to it or not."""

    node: str
    prefix: IPv4Network

    def perform(self, lab: Lab) -> None:
        """Returns when bgpd has it in its configuration."""
        node = lab.nodes[self.node]
        node.configure(
            f"ip route {self.prefix} blackhole",
            f"router bgp {node.node.as_number}",
            "address-family ipv4 unicast",
            f"network {self.prefix}",
        )


@dataclass(frozen=True, slots=True)
class Configure:
    """Give a node's vtysh lines of configuration, as its operator may."""

    node: str
    lines: tuple[str, ...]

    def perform(self, lab: Lab) -> None:
        """Returns when vtysh has taken all of them."""
        lab.nodes[self.node].configure(*self.lines)


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command on a node, as root; ``times`` times, one begun ``every`` so many seconds."""

    node: str
    argv: tuple[str, ...]
    times: int = 1
    every: int = 0

    def perform(self, lab: Lab) -> None:
        """Returns when the last has been done and its ``every`` is over. A status that is not 0 is an error."""
        for _ in range(self.times):
            begin = time.monotonic()
            lab.nodes[self.node].space.run(*self.argv)
            time.sleep(max(0.0, begin + self.every - time.monotonic()))


@dataclass(frozen=True, slots=True)
class FlushNft:
    """Flush all nftables rules of a node, as another firewall script may."""

    node: str

    def perform(self, lab: Lab) -> None:
        """Returns when the ruleset is empty."""
        lab.nodes[self.node].space.run("nft", "flush", "ruleset")


@dataclass(frozen=True, slots=True)
class Revoke:
    """Have the CA put a node's certificate on hold, and put the new CRL on one node, where its agent looks for it."""

    node: str
    on: str

    def prepare(self, ca: "Ca") -> None:
        """Have the CRL made."""
        ca.hold(self.node)

    def perform(self, lab: Lab) -> None:
        """Returns when the CRL lies there; other nodes keep what they have."""
        lab.nodes[self.on].publish(lab.issued.crl())


@dataclass(frozen=True, slots=True)
class Unrevoke:
    """Have the CA take the hold back, and put the new CRL on one node."""

    node: str
    on: str

    def prepare(self, ca: "Ca") -> None:
        """Have the CRL made."""
        ca.release(self.node)

    def perform(self, lab: Lab) -> None:
        """Returns when the CRL lies there."""
        lab.nodes[self.on].publish(lab.issued.crl())


@dataclass(frozen=True, slots=True)
class Renew:
    """Give a node another certificate, with these prefixes, as its operator does: loaded, and the IKE_SAs ended.

    An IKE_SA keeps the configuration it was made by; a rekeying or reauthentication would use the old certificate.
    """

    node: str
    prefixes: tuple[IPv4Network | IPv6Network, ...]

    def prepare(self, ca: "Ca") -> None:
        """Have the certificate issued."""
        ca.renew(self.node, self.prefixes)

    def perform(self, lab: Lab) -> None:
        """Returns when the old IKE_SAs are gone; nhrpd asks for new ones by itself."""
        node = lab.nodes[self.node]
        node.renew(lab.credentials(self.node))
        node.space.run("swanctl", "--terminate", "--ike", PROFILE)


@dataclass(frozen=True, slots=True)
class UndoSetup:
    """Undo ``dmvpn-agent setup`` on a node: every file below /etc must be as it was before."""

    node: str

    def perform(self, lab: Lab) -> None:
        """Returns when it is undone; the daemons go on with what they have read."""
        lab.nodes[self.node].undo_setup()


ACTIONS = {
    "start": Start,
    "power-off": PowerOff,
    "restart": Restart,
    "kill": Kill,
    "signal": Signal,
    "announce": Announce,
    "configure": Configure,
    "run": Run,
    "both-start": BothStart,
    "flush-nft": FlushNft,
    "remember": Remember,
    "ping": Ping,
    "spoof": Spoof,
    "clear-gre": ClearGre,
    "traffic": Traffic,
    "revoke": Revoke,
    "unrevoke": Unrevoke,
    "renew": Renew,
    "undo-setup": UndoSetup,
}
