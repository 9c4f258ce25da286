"""Three hours of a fleet, as Prometheus would have scraped it: two hubs with twelve spokes, two spokes, a bridge.

The series are those that an agent exports: its catalogue, ``PeerSeries`` and the writer of the text format make them.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from catalogue import CATALOGUE
from dmvpn_agent.bgp import metrics as bgp
from dmvpn_agent.charon import metrics as charon
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import Traffic
from dmvpn_agent.crls import metrics as crls
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.renewal import metrics as renewal
from dmvpn_agent.runtime import metrics as runtime
from dmvpn_agent.runtime.metrics import Kind, Metric
from dmvpn_agent.runtime.openmetrics import render
from dmvpn_agent.runtime.process_metrics import observe_process
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view import metrics as view_metrics
from dmvpn_agent.view.peer import BgpState, Binding, Expectation, JoinedPeer
from dmvpn_agent.view.peer_series import PeerSeries
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import Track
from dmvpn_agent.x509 import metrics as x509
from factories import NOW
from joining import sa

STEP, STEPS = timedelta(minutes=1), 180
END = NOW + STEP * (STEPS - 1)
SPOKES = 12
#: Which spoke is stuck where, from which minute to which.
STUCK = {3: (Stage.NO_IKE, 60, 110), 5: (Stage.DENIED, 120, 180), 7: (Stage.NO_BGP, 30, 50),
         9: (Stage.NOT_REGISTERED, 140, 150), 11: (Stage.NO_IKE, 0, 180), 12: (Stage.FILTERED, 90, 180)}  # fmt: skip
#: Gauges that are not 1: by name, the value of each series.
GAUGES = {"denied_peers": 1, "revoked_peers_present": 0, "pending_changes": 0, "foreign_neighbors": 0,
          "orphan_neighbors": 0, "renewal_failures": 0,
          "event_loop_lag_seconds": 0.02, "ike_sas": 12, "child_sas": 12, "peers": 6, "nhrp_cache_entries": 11,
          "nhrp_shortcuts": 2, "bridge_certificates": 12, "silenced_peers": 0, "crl_revoked_certificates": 3,
          "routes": 4, "bgp_neighbors_over_limit": 0}  # fmt: skip
#: Values of labels that are no closed list in the catalogue.
LABELS = {"interface": ("gre1",), "state": ("ESTABLISHED",), "issuer": ("CN=DMVPN CA",), "side": ("remote",),
          "mode": ("enforce",), "type": ("dynamic", "local"), "kind": ("bgp",), "sa": ("ike",),
          "listener": ("events",),
          "algorithm": ("AES_GCM_16-256",), "strength": ("sound",), "part": ("metrics",), "cause": ("flood",),
          "source": ("charon", "nhrpd", "bgpd", "nftables", "trust"), "direction": ("in", "out"),
          "outcome": ("done",), "peer": ("spoke1", "spoke2"), "stage": ("up",),
          "event": ("child_rekeyed",)}  # fmt: skip
_STEADY = {"decisions", "reconciles", "vici_events", "ipsec_events", "kernel_events", "nhrp_cache_reads",
           "trust_reads", "http_requests", "bridge_requests", "bridge_events"}  # fmt: skip
_SET = {runtime.BUILD_INFO, runtime.START_TIME, charon.VICI_CONNECTED, bgp.LAST_SYNC, x509.CRL_NEXT_UPDATE,
        renewal.RENEWAL_DUE, renewal.RENEWAL_SUCCESS, crls.CRL_FETCHED}  # fmt: skip
_STATES = {"peers": ("bound", "absent"), "child_sas": ("INSTALLED",)}
_OF_PEERS = {one for one in vars(view_metrics).values() if isinstance(one, Metric)} - {view_metrics.STAGE_CHANGES}


class Node:
    """One process; ``names`` are its peers."""

    def __init__(self, job: str, instance: str, names: dict[str, PeerKind]) -> None:
        self.job, self.instance, self.names = job, instance, names
        self.chance = random.Random(instance + job)
        self.telemetry = Telemetry()
        self.peers: tuple[JoinedPeer, ...] = ()
        self.process = "bridge" if job == "dmvpn-bridge" else "agent"
        if self.process == "agent":
            PeerSeries(lambda: self.peers).observe(self.telemetry)
        observe_process(self.telemetry)

    def at(self, step: int) -> str:
        """Return its scrape at a minute, with the labels and the time that Prometheus adds."""
        now = NOW + STEP * step
        before = {peer.name: peer for peer in self.peers}
        if self.process == "agent":
            self.peers = tuple(
                self._peer(name, number, step, before.get(name)) for number, name in enumerate(self.names, 1)
            )
        for metric in CATALOGUE:
            if metric not in _OF_PEERS | _SET and (self.process == "bridge") is metric.name.startswith("bridge_"):
                self._count(metric, step)
        self._shared(now)
        text = render(self.telemetry.families(), openmetrics=True).decode()
        target = f'job="{self.job}",instance="{self.instance}",cluster="lab"'
        lines = [_with(line, target, now) for line in text.splitlines() if not line.startswith("#")]
        return "\n".join([*lines, _with("up 1", target, now)])

    def _shared(self, now: datetime) -> None:
        self.telemetry.set(runtime.BUILD_INFO, 1, "0.2.0", self.process)
        self.telemetry.set(runtime.START_TIME, NOW.timestamp())
        self.telemetry.set(charon.VICI_CONNECTED, 1)
        if self.process == "agent":
            self.telemetry.set(bgp.LAST_SYNC, (now - timedelta(seconds=self.chance.randint(1, 30))).timestamp())
            self.telemetry.set(x509.CRL_NEXT_UPDATE, (END + timedelta(days=3)).timestamp(), "CN=DMVPN CA")
            self.telemetry.set(renewal.RENEWAL_DUE, (END + timedelta(days=133)).timestamp())
            self.telemetry.set(renewal.RENEWAL_SUCCESS, (NOW - timedelta(days=67)).timestamp())
            fetched = now - timedelta(seconds=self.chance.randint(1, 60))
            self.telemetry.set(crls.CRL_FETCHED, fetched.timestamp(), "http://ca.example.org/dmvpn.crl")
            for kind, days in ("own", 200), ("ca", 1200):
                subject = f"CN={self.instance}" if kind == "own" else "CN=DMVPN CA"
                self.telemetry.set(
                    view_metrics.CERTIFICATE_NOT_AFTER, (END + timedelta(days=days)).timestamp(), kind, "", subject
                )
            for peer in self.peers:
                if peer.not_after:
                    self.telemetry.set(
                        view_metrics.CERTIFICATE_NOT_AFTER, peer.not_after.timestamp(), "peer", peer.name, ""
                    )

    def _count(self, metric: Metric, step: int) -> None:
        states = {"state": _STATES[metric.name]} if metric.name in _STATES else {}
        names = [(LABELS | states).get(label, ("x",)) for label in metric.labels]
        series: list[tuple[str, ...]] = [*(metric.starts or [()])]
        if not metric.starts and names:
            series = [(first, *(more[0] for more in names[1:])) for first in names[0]]
        for number, labels in enumerate(series):
            if metric.kind is Kind.GAUGE:
                self.telemetry.set(metric, GAUGES.get(metric.name, 1), *labels)
            elif metric.kind is Kind.HISTOGRAM:
                for _ in range(3):
                    self.telemetry.record(metric, self.chance.expovariate(30), *labels)
            else:
                self.telemetry.increment(metric, *labels, by=self._amount(metric, labels, number, step))

    def _amount(self, metric: Metric, labels: tuple[str, ...], number: int, step: int) -> float:
        """Return by how much a counter grows in a minute: all do once, a few steadily."""
        if metric.name.endswith("bytes"):
            return self.chance.randint(200, 400) * 10**6
        if metric.name.endswith("packets"):
            most = 3 if "spoofed" in metric.name or "unknown" in metric.name else 4000
            return self.chance.randint(most // 2, most)
        once = step == STEPS - 3 - (number * 17 + len(metric.name)) % 120
        steady = (
            metric.name in _STEADY
            and number < 2
            and self.chance.random() < 0.6
            and not {"deny", "refused", "failed"} & set(labels)
        )
        return float(once or steady)

    def _peer(self, name: str, number: int, step: int, before: JoinedPeer | None) -> JoinedPeer:
        now, kind = NOW + STEP * step, self.names[name]
        stage = self._stage(name, step)
        track = (before.track if before else Track()).after(stage, now)
        up = stage in {Stage.UP, Stage.FILTERED, Stage.NO_BGP}
        carried = before.traffic if before else Traffic()
        if up:
            busy = self.chance.randint(1, 9) * 10**6 * (3 if name == "spoke2" else 1)
            carried = carried.plus(Traffic(busy, busy // 900, busy // 3, busy // 2700))
        events = dict(before.sa_events) if before else dict.fromkeys(SaEventKind, 0)
        if step % 50 == number or (before and before.stage is not stage):
            events = {event: count + self.chance.randint(0, 1) for event, count in events.items()}
        address, nbma = ip_address(f"10.255.0.{number}"), ip_address(f"203.0.113.{number}")
        times: dict[str, Any] = {
            "established_at": now - STEP * (step % 90),
            "rekey_due": now + STEP * (90 - step % 90),
        }
        one = sa(1, **times).sa
        children = tuple(
            replace(child, rekey_due=now + STEP * (20 - step % 20), expires=now + STEP * (25 - step % 20))
            for child in one.children
        )
        accepted = 0 if stage is not Stage.UP else 1 + number % 3
        established = stage in {Stage.UP, Stage.FILTERED}
        session = BgpState(
            neighbor=address,
            state="Established" if established else "Active",
            accepted=accepted,
            filtered=2 if stage is Stage.FILTERED else 0,
            allowed=(ip_network(f"192.168.{number}.0/24"),),
            since=track.since or NOW if established else None,
            drops=track.flaps,
        )
        return JoinedPeer(
            name=name,
            key=f"CN={name}@gre1",
            stage=stage,
            why="",
            expected=Expectation.LEARNED,
            interface="gre1",
            kind=kind,
            nbma_address=nbma,
            bindings=(Binding(address, nbma, "dynamic", None if up else now),),
            subject=f"CN={name},O=Example",
            not_after=END + timedelta(days=9 + 40 * number),
            as_number=64512 + number,
            accepted=stage is not Stage.DENIED,
            ike_sas=(replace(one, children=children),) if up else (),
            bgp=session,
            traffic=carried,
            sa_events=events,
            shortcuts=(ip_network("192.168.9.0/24"),) if kind is PeerKind.SHORTCUT else (),
            since=track.since,
            track=track,
        )

    def _stage(self, name: str, step: int) -> Stage:
        if name == "hub2" and 100 <= step < 130:
            return Stage.NO_IKE
        number = int(re.sub(r"\D", "", name)) if name.startswith("spoke") and self.instance.startswith("hub") else 0
        stage, first, last = STUCK.get(number, (Stage.UP, 0, 0))
        return stage if first <= step < last else Stage.UP


def _with(line: str, target: str, now: datetime) -> str:
    series, _, value = line.rpartition(" ")
    name, brace, labels = series.partition("{")
    text = f"{labels[:-1]},{target}" if brace else target
    return f"{name}{{{text}}} {value} {now.timestamp():.0f}"


def fleet() -> list[Node]:
    """Return the nodes."""
    spokes = {f"spoke{number}": PeerKind.SPOKE for number in range(1, SPOKES + 1)}
    hubs = {"hub1": PeerKind.HUB, "hub2": PeerKind.HUB}
    return [
        Node("dmvpn-agent", "hub1", spokes),
        Node("dmvpn-agent", "hub2", spokes),
        Node("dmvpn-bridge", "hub1", {}),
        Node("dmvpn-agent", "spoke1", hubs | {"spoke2": PeerKind.SHORTCUT}),
        Node("dmvpn-agent", "spoke2", hubs | {"spoke1": PeerKind.SHORTCUT}),
    ]


def scrapes() -> Iterator[str]:
    """Yield the whole history in OpenMetrics."""
    for node in fleet():
        for step in range(STEPS):
            yield node.at(step)
    for step in range(120, STEPS):
        now = NOW + STEP * step
        yield _with('ALERTS{alertname="DmvpnPeerDown",alertstate="firing",severity="warning",peer="spoke5"} 1',
                    'job="dmvpn-agent",instance="hub1",cluster="lab"', now)  # fmt: skip
    yield "# EOF\n"
