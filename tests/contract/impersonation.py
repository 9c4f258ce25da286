"""A node with bridge and agent, and a charon that plays a victim and an attacker who names itself like the victim.

The victim's certificate lies in the node's cache: it was there a moment ago, or still is.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.bridged_pair import DESTROYING, Node, any_certificate, bridged
from contract.charon_pair import Side, two_charons
from contract.charons import connection
from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.bridge.bridge_certificates import BridgeCertificates
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import POLICY, UNITS, der, policy, request
from fakes.admission import Admission
from fakes.frr import MemoryStore
from fakes.waiting import running, until

SECRET = {"type": "IKE", "data": b"what everybody in the office knows"}
PASSWORD = {"type": "EAP", "data": b"what everybody in the office knows"}
#: Where the attacker is; the victim is at the peer's own address.
ELSEWHERE = "203.0.113.3"
TODAY = datetime.now(UTC).replace(microsecond=0)
VICTIM = der(UNITS, name="victim", not_before=TODAY - timedelta(days=1), not_after=TODAY + timedelta(days=1))
SHOUTED = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=VICTIM"
NAME = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=victim"

Rounds = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Way:
    """How the node authenticates the peers of its other connection, and what the attacker does there.

    ``shown``: the identity that the node then has of it.
    """

    asked: Rounds
    done: Rounds
    shown: str = NAME


def _key(identity: str = NAME) -> Mapping[str, Any]:
    return {"auth": "psk", "id": identity}


OWN: Mapping[str, Any] = {"auth": "pubkey", "own": True}
WAYS = {
    "pre-shared key": Way(({"auth": "psk"},), (_key(),)),
    "auth not set": Way(({},), (_key(),)),
    "EAP": Way(({"auth": "eap-md5"},), ({"auth": "eap", "id": NAME},)),
    "a certificate, then a key": Way(({"auth": "pubkey"}, {"auth": "psk"}), (OWN, _key())),
    "a certificate, then EAP": Way(({"auth": "pubkey"}, {"auth": "eap-md5"}), (OWN, {"auth": "eap", "id": NAME})),
    "another case": Way(({"auth": "psk"},), (_key(SHOUTED),), SHOUTED),
    "a key ID": Way(({"auth": "psk"},), (_key("@#" + NAME.encode().hex()),)),
    "a domain name": Way(({"auth": "psk"},), (_key("fqdn:" + NAME),)),
    "no name": Way(({"auth": "psk"},), (_key("%any"),), ELSEWHERE),
}


@dataclass
class Scene:
    """The node, with its bridge and an agent, and the one charon that plays victim and attacker."""

    node: Side
    peer: Side
    bridge: Node
    watch: CharonWatch
    admission: Admission
    numbers: dict[str, int] = field(default_factory=dict)

    async def load(self, name: str, asked: Rounds) -> None:
        """Load the node's other connection, or again."""
        await self.node.ask("load-conn", {name: conn(self.node, self.peer, (OWN,), asked, "%any", ELSEWHERE)})

    async def attack(self, name: str, way: Way, source: str = ELSEWHERE) -> IkeSa:
        """Have the attacker come, while its own connection is named like the node's."""
        made = conn(self.peer, self.node, way.done, (OWN,), self.node.host, ELSEWHERE)
        await self.peer.ask("load-conn", {f"attack-{name}": {**made, "local_addrs": [source]}})
        await self.peer.ask("initiate", {"ike": f"attack-{name}", "child": "dmvpn", "timeout": "10000"})
        (sa,) = [sa for sa in await self.node.sas() if sa.name == name]
        await self.seen(sa)
        return sa

    async def come(self) -> IkeSa:
        """Have the victim come by its certificate."""
        await self.peer.show(VICTIM, self.node)
        await self.peer.ask("initiate", {"ike": "dmvpn", "child": "dmvpn", "timeout": "10000"})
        (sa,) = [sa for sa in await self.node.sas() if str(sa.remote_host) == self.peer.host]
        await self.seen(sa)
        return sa

    async def leave(self) -> None:
        await self.peer.ask("terminate", {"ike": "dmvpn", "timeout": "1000"})

    async def seen(self, sa: IkeSa) -> None:
        """Wait until bridge and agent have seen an IKE_SA, and all that came before."""
        await self.look()
        assert sa.spis in {one.spis for one in self.watch.ike_sas}

    async def look(self) -> None:
        assert self.bridge.bridge.session is not None
        await self.bridge.bridge._update(self.bridge.bridge.session, None)
        await self.watch.refresh()

    def told(self, host: str) -> list[tuple[str, bytes]]:
        """Return what nhrpd was told of a peer: events with certificates."""
        nhrpd = self.bridge.nhrpd
        return [
            (event, shown)
            for (event, _, shown), remote in zip(nhrpd.received, nhrpd.remotes, strict=True)
            if remote == host and event != DESTROYING
        ]

    async def ask(self, interface: str, host: str, der: bytes) -> Any:
        """Return what the agent decides on a registration; nothing follows from it."""
        read = read_certificate(der) if der else None
        asked = request(interface=interface, nbma_address=ip_address(host), certificate=read)
        decider = self.admission.decider
        recent = not decider.must_ask_charon(asked) or await decider.ask_charon(asked)
        return decider.decide_new(asked, sas_are_recent=recent)[1]


def conn(own: Side, other: Side, done: Rounds, asked: Rounds, remote: str, inside: str) -> dict[str, Any]:
    pem = x509.load_der_x509_certificate(own.certificate).public_bytes(Encoding.PEM)
    made = connection({}, own.host, remote, f"{own.inner}/32", f"{other.inner}/32")
    del made["local"], made["remote"]
    local = {f"local-{n}": {"auth": "pubkey", "certs": [pem]} if "own" in one else one for n, one in enumerate(done)}
    remote_rounds = {f"remote-{n}": {"auth": "pubkey"} if "own" in one else one for n, one in enumerate(asked)}
    return {**made, **local, **remote_rounds, "unique": "never"}


@asynccontextmanager
async def scene_of(
    folder: Path, profiles: Mapping[str, str], by: Policy = POLICY, is_ours: IsOurs = any_certificate
) -> AsyncIterator[Scene]:
    async with two_charons(folder) as (node, peer):
        peer.space.run("ip", "addr", "add", f"{ELSEWHERE}/24", "dev", "eth0")
        for side in (node, peer):
            await side.ask("load-shared", SECRET)
            await side.ask("load-shared", PASSWORD)
        await node.ask("load-conn", {"dmvpn": conn(node, peer, (OWN,), (OWN,), "%any", "")})
        async with bridged(node, frozenset(profiles.values()), is_ours) as bridge:
            telemetry = Telemetry()
            known = BridgeCertificates(node.path.with_suffix(".sqlite"), node.path.with_suffix(".listen"), telemetry)
            watch = CharonWatch(ViciCharon(node.path, telemetry), profiles, telemetry, certificates=known)
            admission = Admission(MemoryStore(), telemetry, Clocks(), by, watch)
            async with running(watch.run()):
                await until(lambda: watch.connected)
                yield Scene(node, peer, bridge, watch, admission)


ONE = {"gre1": "dmvpn"}
BOTH = {"gre1": "dmvpn", "gre2": "keys"}
TWO_INTERFACES = policy(rules={"gre1": POLICY.rules["gre1"], "gre2": POLICY.rules["gre1"]})
