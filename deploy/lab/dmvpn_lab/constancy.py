"""What must not change on a node: an action that remembers it, and the expectation that it is still so."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from dmvpn_lab import readings
from dmvpn_lab.lab import Lab
from dmvpn_lab.node import LabNode
from dmvpn_lab.observation import Observation


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep what ``unchanged`` compares, about all of a node's peers or about one."""

    node: str
    about: str | None = None

    def perform(self, lab: Lab) -> None:
        """Overwrites what was remembered before."""
        lab.remembered[self.node, self.about] = _snapshot(lab, self.node, self.about)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """SAs, BGP sessions and routes of a node, or ``kinds`` of these, are the ones remembered; new ones may have come.

    ``links``: since then the bridge has told nhrpd of no peer's last circuit that it is gone, or of a first one.
    ``decisions``: since then nhrpd has not asked anew about the address of a peer that was bound, as it does when
    a binding went and came back.
    """

    on: str
    about: str | None = None
    kinds: tuple[str, ...] = ("ike_sas", "child_sas", "bgp_sessions", "routes")

    def observe(self, lab: Lab) -> Observation:
        """Compares SPIs and unique ids, how often each BGP session was established and dropped, and routes.

        Not true where nothing of a kind was remembered: that nothing changed would say nothing.
        """
        before, now = lab.remembered[self.on, self.about], _snapshot(lab, self.on, self.about)
        gone = {
            kind: {key: value for key, value in before[kind].items() if now[kind].get(key) != value}
            for kind in self.kinds
        }
        evidence = {"before": before, "gone_or_changed": gone}
        return Observation(not any(gone.values()) and all(before[kind] for kind in self.kinds), evidence)


def _snapshot(lab: Lab, name: str, about: str | None) -> dict[str, Any]:
    """The identity of SAs and sessions, and the routes: those of all peers, or those with one peer and by it."""
    node = lab.nodes[name]
    others = lab.scenario.nodes.keys() if about is None else [about]
    addresses = {lab.scenario.outer_address(other) for other in others}
    addresses |= {str(address) for other in others for address in lab.scenario.nodes[other].protocol_addresses}
    ike_sas = [sa for sa in readings.ike_sas(node) if sa["state"] == "ESTABLISHED" and sa["remote_host"] in addresses]
    return {
        "ike_sas": {f"{sa['initiator_spi']}:{sa['responder_spi']}": sa["unique_id"] for sa in ike_sas},
        "child_sas": {
            f"{child['spi_in']}:{child['spi_out']}": child["unique_id"]
            for sa in ike_sas
            for child in sa["child_sas"]
            if child["state"] == "INSTALLED"
        },
        "bgp_sessions": {
            peer["address"]: [peer["connections_established"], peer["connections_dropped"]]
            for peer in readings.bgp_neighbors(node)
            if peer["state"] == "Established" and peer["address"] in addresses
        },
        "routes": {
            line: line.split()[0] for line in readings.routes(node) if about is None or addresses & set(line.split())
        },
        "links": {address: times for address, times in _links(node).items() if address in addresses},
        "decisions": {address: times for address, times in _decisions(node).items() if address in addresses},
    }


def _links(node: LabNode) -> dict[str, int]:
    """How often there was a first circuit or no more of them, by NBMA address, by what the bridge told nhrpd."""
    circuits: defaultdict[str, set[int]] = defaultdict(set)
    turns: Counter[str] = Counter()
    for event in _logged(node, "bridge", "child_state_"):
        ids = circuits[event["remote"]]
        before = bool(ids)
        (ids.add if event["event"] == "child_state_installed" else ids.discard)(event["child_id"])
        turns[event["remote"]] += before != bool(ids)
    return dict(turns)


def _decisions(node: LabNode) -> dict[str, int]:
    """How often the agent answered nhrpd, by protocol address."""
    return dict(Counter(event["protocol_address"] for event in _logged(node, "agent", "binding_decided")))


def _logged(node: LabNode, daemon: str, words: str) -> list[dict[str, Any]]:
    file = node.logs / f"{daemon}.log"
    lines = file.read_text(errors="replace").splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if words in line and line.startswith("{") and line.endswith("}\n")]
