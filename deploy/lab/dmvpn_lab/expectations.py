"""What can be expected of the lab. The fields of each class are its keys in a scenario file.

Each is observed on the real thing: the answers of nhrpd, bgpd and charon, the kernel, the agent's status and metrics.
"""

from dataclasses import asdict, dataclass
from typing import Any

from dmvpn_lab import readings
from dmvpn_lab.collision import Collisions
from dmvpn_lab.constancy import Unchanged
from dmvpn_lab.lab import Lab
from dmvpn_lab.node import AGENT
from dmvpn_lab.observation import Observation
from dmvpn_lab.packets import Shortcut
from dmvpn_lab.scenario import Address, Network
from dmvpn_lab.spoofing import Delivered
from dmvpn_lab.traffic import TrafficIntact


@dataclass(frozen=True, slots=True)
class Decision:
    """The agent ``on`` a node decided so about a binding of ``protocol_address``. Keys left out are not compared."""

    on: str
    decision: str
    protocol_address: Address
    reason: str | None = None
    field: str | None = None
    found: str | None = None
    expected: str | None = None

    def observe(self, lab: Lab) -> Observation:
        """True if the newest decision about the address has all the values."""
        about = [
            item
            for item in readings.status(lab.nodes[self.on])["decisions"]
            if item.get("protocol_address") == str(self.protocol_address)
        ]
        newest: dict[str, Any] = max(about, key=lambda item: str(item["time"]), default={})
        wanted = {key: str(value) for key, value in asdict(self).items() if key != "on" and value is not None}
        return Observation(all(str(newest.get(key)) == value for key, value in wanted.items()), newest)


@dataclass(frozen=True, slots=True)
class Peer:
    """The agent ``on`` a node lists the other node as a peer that may be there (or does not: ``present = false``)."""

    on: str
    protocol_address: Address
    present: bool = True

    def observe(self, lab: Lab) -> Observation:
        """Looks at the agent's status."""
        peers = readings.status(lab.nodes[self.on])["peers"]
        found = [peer for peer in peers if peer.get("protocol_address") == str(self.protocol_address)]
        return Observation(bool(found) == self.present, found or peers)


@dataclass(frozen=True, slots=True)
class Binding:
    """nhrpd ``on`` a node has a binding of ``protocol_address`` (or has not: ``present = false``)."""

    on: str
    protocol_address: Address
    present: bool = True

    def observe(self, lab: Lab) -> Observation:
        """A binding that only waits for its decision, or was refused, is ``incomplete`` or ``invalid``."""
        cache = readings.nhrp_cache(lab.nodes[self.on])
        found = [
            entry
            for entry in cache
            if entry["protocol"] == str(self.protocol_address)
            and entry["type"] in ("dynamic", "nhs", "cached", "static")
        ]
        return Observation(bool(found) == self.present, found or cache)


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """Between two nodes there is an IKE_SA ESTABLISHED, and in it a CHILD_SA INSTALLED, transport mode.

    With ``present = false`` there is no IKE_SA that got as far as ESTABLISHED.
    """

    on: str
    to: str
    present: bool = True

    def observe(self, lab: Lab) -> Observation:
        """Seen from the node ``on``; the other is known by its NBMA address, or its router's."""
        address = lab.scenario.outer_address(self.to)
        sas = [sa for sa in readings.ike_sas(lab.nodes[self.on]) if sa["remote_host"] == address]
        established = [sa for sa in sas if sa["state"] == "ESTABLISHED"]
        if not self.present:
            return Observation(not established, sas)
        children = [child for sa in established for child in sa["child_sas"]]
        up = any(child["state"] == "INSTALLED" and child["mode"] == "TRANSPORT" for child in children)
        return Observation(up, sas)


@dataclass(frozen=True, slots=True)
class BgpSession:
    """bgpd ``on`` a node has the other node as a neighbor, and the session is ``state``."""

    on: str
    to: str
    state: str = "Established"

    def observe(self, lab: Lab) -> Observation:
        """The state ``absent`` stands for no such neighbor."""
        address = lab.scenario.protocol_address(self.to, self.on)
        neighbors = [peer for peer in readings.bgp_neighbors(lab.nodes[self.on]) if peer["address"] == address]
        state = neighbors[0]["state"] if neighbors else "absent"
        return Observation(state == self.state, neighbors or state)


@dataclass(frozen=True, slots=True)
class Prefix:
    """bgpd ``on`` a node has the prefix (or has not: ``present = false``), from the given node if one is given."""

    on: str
    prefix: Network
    sender: str | None = None
    present: bool = True

    def observe(self, lab: Lab) -> Observation:
        """For an absent prefix with a sender, the sender must really announce it."""
        paths = readings.bgp_prefixes(lab.nodes[self.on], self.prefix.version).get(str(self.prefix), [])
        if self.sender is None:
            return Observation(bool(paths) == self.present, {"received_from": paths})
        address = lab.scenario.protocol_address(self.sender, self.on)
        if self.present:
            return Observation(address in paths, {"received_from": paths})
        to = lab.scenario.protocol_address(self.on, self.sender)
        announced = str(self.prefix) in readings.bgp_advertised(lab.nodes[self.sender], to, self.prefix.version)
        evidence = {"announced_by_sender": announced, "received_from": paths}
        return Observation(announced and address not in paths, evidence)


@dataclass(frozen=True, slots=True)
class Route:
    """The kernel ``on`` a node has a route to the prefix (or has not), with these words in it, such as a device."""

    on: str
    prefix: Network
    words: str = ""
    present: bool = True

    def observe(self, lab: Lab) -> Observation:
        """``words`` are compared with the line that ``ip route`` prints."""
        target = str(self.prefix).removesuffix(f"/{self.prefix.max_prefixlen}")
        found = [line for line in readings.routes(lab.nodes[self.on]) if line.split()[0] == target]
        return Observation(any(self.words in line for line in found) == self.present, found)


@dataclass(frozen=True, slots=True)
class RedirectRule:
    """nftables ``on`` a node has the rule that logs what enters and leaves through a tunnel to the NFLOG group.

    ``ipv6``: that for IPv6 packets.
    """

    on: str
    group: int = 1
    interface: str = "gre1"
    ipv6: bool = False

    def observe(self, lab: Lab) -> Observation:
        """Looks for the rule as nft lists it."""
        address = "ip6 saddr" if self.ipv6 else "ip saddr"
        words = (f'iifname "{self.interface}"', f'oifname "{self.interface}"', f"group {self.group}", address)
        rules = [line for line in readings.ruleset(lab.nodes[self.on]) if all(word in line for word in words)]
        return Observation(bool(rules), rules)


@dataclass(frozen=True, slots=True)
class Metric:
    """A sample of the agent's /metrics ``on`` a node is at least so much. ``name`` includes the labels, if any."""

    on: str
    name: str
    at_least: int

    def observe(self, lab: Lab) -> Observation:
        """A sample that is not there is not true."""
        try:
            value = readings.metrics(lab.nodes[self.on]).get(self.name)
        except OSError as error:
            return Observation(False, str(error))
        return Observation(value is not None and value >= self.at_least, value)


@dataclass(frozen=True, slots=True)
class Alive:
    """Every daemon that was started on a node runs."""

    on: str

    def observe(self, lab: Lab) -> Observation:
        """The evidence names those that ended."""
        dead = lab.nodes[self.on].dead()
        return Observation(not dead, {"ended": dead})


@dataclass(frozen=True, slots=True)
class Log:
    """A daemon ``on`` a node has logged a line with these words."""

    on: str
    daemon: str
    words: str

    def observe(self, lab: Lab) -> Observation:
        """The evidence is how many such lines there are, and the last."""
        text = (lab.nodes[self.on].logs / f"{self.daemon}.log").read_text(errors="replace")
        found = [line for line in text.splitlines() if self.words in line]
        return Observation(bool(found), {"lines": len(found), "last": found[-1:]})


@dataclass(frozen=True, slots=True)
class Command:
    """A command ``on`` a node, run as root, ends with this status and prints all of these words.

    ``dmvpn-agent`` is the command of the checkout. ``file`` names a file for what it prints, beside the node's logs.
    """

    on: str
    argv: tuple[str, ...]
    status: int = 0
    words: tuple[str, ...] = ()
    file: str | None = None

    def observe(self, lab: Lab) -> Observation:
        """The evidence is what it prints, both streams."""
        node = lab.nodes[self.on]
        argv = [*AGENT, *self.argv[1:]] if self.argv[0] == "dmvpn-agent" else self.argv
        status, text = node.space.result(argv)
        if self.file is not None:
            (node.logs / self.file).write_text(text)
        true = status == self.status and all(words in text for words in self.words)
        return Observation(true, {"status": status, "printed": text.splitlines()})


EXPECTATIONS = {
    "decision": Decision,
    "peer": Peer,
    "binding": Binding,
    "security-association": SecurityAssociation,
    "bgp-session": BgpSession,
    "prefix": Prefix,
    "route": Route,
    "shortcut": Shortcut,
    "delivered": Delivered,
    "redirect-rule": RedirectRule,
    "traffic-intact": TrafficIntact,
    "collisions": Collisions,
    "unchanged": Unchanged,
    "metric": Metric,
    "alive": Alive,
    "log": Log,
    "command": Command,
}
