"""The control socket of an agent with simulated peers, for tests of the page: every form is the real agent's."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from dmvpn_agent.charon.sa import Traffic
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.control_socket import ControlSocket, Request
from dmvpn_agent.runtime.document import Code, Document, RequestError, document
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.health import faults, peer_counts
from dmvpn_agent.view.history import Entry, EntryKind
from dmvpn_agent.view.peer import BgpState, Binding, Expectation, JoinedPeer
from dmvpn_agent.view.peer_json import peer_details, peer_summary
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import Track
from joining import sa

WHY = {
    Stage.NO_IKE: "charon has no IKE_SA with it",
    Stage.AUTHENTICATION_FAILED: "charon: peer authentication failed",
    Stage.NO_CHILD_SA: "its IKE_SA has no installed CHILD_SA",
    Stage.NOT_REGISTERED: "nhrpd has no binding for it",
    Stage.DENIED: "protocol_address_mismatch: the certificate has 10.255.0.9",
    Stage.NO_BGP: "its session is Active",
    Stage.NOTHING_ANNOUNCED: "its session is up, and nothing was accepted",
    Stage.FILTERED: "its filter refused 2 prefixes",
    Stage.UNKNOWN: "charon is away",
}


def peer(number: int, stage: Stage = Stage.UP, name: str = "", **changes: Any) -> JoinedPeer:
    """Return the peer of a number at a stage."""
    now, name = utc_now(), name or f"spoke{number}"
    address = ip_address("10.255.0.0") + number
    nbma = ip_address("203.0.113.0") + number
    connected = stage not in {Stage.NO_IKE, Stage.AUTHENTICATION_FAILED, Stage.DENIED}
    established = stage in {Stage.UP, Stage.FILTERED, Stage.NOTHING_ANNOUNCED}
    prefixes = (ip_network(f"10.{number // 250}.{number % 250}.0/24"),)
    one = sa(1 + number % 200, remote_host=nbma, established_at=now - timedelta(minutes=number % 90)).sa
    made = JoinedPeer(
        name=name, key=f"CN={name}@gre1", stage=stage, why=WHY.get(stage, ""), expected=Expectation.LEARNED,
        interface="gre1", kind=PeerKind.SPOKE, nbma_address=nbma,
        bindings=(Binding(address, nbma, "dynamic" if connected else ""),),
        subject=f"C=DE, O=Example, CN={name}", identity=f"CN={name},O=Example,C=DE", fingerprint=f"{number:064x}",
        not_after=now + timedelta(days=20 + number % 700), as_number=64512 + number,
        prefixes=prefixes,
        accepted=stage is not Stage.DENIED,
        denial=Deny(Reason.PROTOCOL_ADDRESS_MISMATCH, "GRE", "10.255.0.8", "10.255.0.9")
        if stage is Stage.DENIED else None,
        decided_at=now - timedelta(minutes=7 * number + 3), ike_sas=(one,) if connected else (),
        bgp=BgpState(address, "Established" if established else "Active", int(stage is Stage.UP),
                     2 if stage is Stage.FILTERED else None, prefixes),
        since=now - timedelta(minutes=7 * number + 3), track=Track(),
    )  # fmt: skip
    return replace(made, **changes)


def crowd(count: int, seed: int = 1) -> list[JoinedPeer]:
    """Return a hub and many spokes, of which a few are stuck."""
    chance = random.Random(seed)
    stuck = [stage for stage in Stage if stage not in {Stage.UP, Stage.UNKNOWN}]
    spokes = [
        peer(number, stuck[number // 7 % len(stuck)] if number % 7 == 3 else Stage.UP,
             traffic=Traffic(chance.randint(0, 10**10), 1, chance.randint(0, 10**9), 1))
        for number in range(2, count + 1)
    ]  # fmt: skip
    return [peer(1, name="hub2", kind=PeerKind.HUB), *spokes]


#: The state of a node that is healthy, as far as the rules of health read it.
SOUND: dict[str, Any] = {
    "dry_run": False, "tunnel_interfaces": [{"name": "gre1", "profile": "dmvpn", "up": True}],
    "tunnels": {"left": {}, "problems": []}, "nhrpd": {"connected": True, "trouble": ""},
    "charon": {"connected": True, "own_certificates": []}, "frr": None, "redirect": None, "multicast": None,
    "source_filter": None, "gre_guard": None,
    "trust": {"problems": [], "crls": []}, "renewal": None, "store": {"directory": "/x", "writable": True},
    "configuration": {"last_reload": "applied"},
}  # fmt: skip


class FakeAgent:
    """Answers as the agent does, and is healthy if its rules say so.

    ``busy``: its peers' traffic grows with each answer. ``state``: what differs from ``SOUND``.
    """

    def __init__(self, peers: list[JoinedPeer], *, busy: bool = False, **state: Any) -> None:
        self.peers = peers
        self.state = SOUND | state
        self.busy = busy
        self.asked: list[Request] = []
        self._chance = random.Random(1)

    async def answer(self, request: Request) -> Document | AsyncIterator[Document]:
        self.asked.append(request)
        now = utc_now()
        if request.command == "status":
            found = faults(self.state, self.peers)
            data = {"role": "hub", "version": "0.2.0", "started": now.isoformat(), "degraded": bool(found),
                    "faults": found, "peer_counts": peer_counts(self.peers)}  # fmt: skip
            return document("status/1", self.state | data)
        if request.command == "peers":
            self._grow()
            return document("peers/1", {
                "counts": peer_counts(self.peers), "peers": [peer_summary(one, now) for one in self.peers]
            })  # fmt: skip
        if request.command == "peer":
            word = request.arguments.get("peer")
            for one in self.peers:
                if word in {one.name, str(one.protocol_address), one.subject}:
                    history = [entry.as_json() for entry in self._entries(one)]
                    return document("peer/1", {"peer": peer_details(one, now), "history": history})
            raise RequestError(Code.NO_SUCH_PEER, f"no peer is named {word!r}")
        if request.command == "history":
            entries = [entry.as_json() for one in self.peers[:20] for entry in self._entries(one)]
            return document("history/1", {"entries": entries})
        raise RequestError(Code.USAGE, f"{request.command!r} is unknown")

    def _grow(self) -> None:
        if self.busy:
            grown = [replace(one, traffic=one.traffic.plus(self._burst())) for one in self.peers]
            self.peers = [new if new.up else old for new, old in zip(grown, self.peers, strict=True)]

    def _burst(self) -> Traffic:
        return Traffic(int(10 ** self._chance.uniform(3, 8)), 1, 1000, 1)

    @staticmethod
    def _entries(one: JoinedPeer) -> list[Entry]:
        """The peer was up an hour before it came to its stage."""
        assert one.since is not None
        joined, where = one.since - timedelta(hours=1), f"{one.protocol_address} at {one.nbma_address}"
        entries = [
            Entry(1, joined, EntryKind.DECISION, "accept", one.name, where),
            Entry(2, joined, EntryKind.FRR, "bgpd", one.name, "neighbor and filter"),
            Entry(3, joined, EntryKind.STAGE, "up", one.name, ""),
        ]
        if one.denial:
            entries.append(Entry(4, one.since, EntryKind.DECISION, "deny", one.name, f"{where}: {one.why}"))
        if not one.up:
            entries.append(Entry(5, one.since, EntryKind.STAGE, str(one.stage), one.name, one.why, count=3,
                                 last=one.since + timedelta(minutes=2)))  # fmt: skip
        return entries


@asynccontextmanager
async def serving(path: Path, agent: FakeAgent) -> AsyncIterator[FakeAgent]:
    """Serve the agent at a control socket."""
    control = ControlSocket(path, agent.answer, Telemetry())
    await control.start()
    try:
        yield agent
    finally:
        await control.stop()
        await asyncio.sleep(0)
