"""A peer that does not authenticate by a certificate names itself like one that does, on two real charons.

The certificate of the one that it imitates lies in the node's cache: it was there a moment ago, or still is.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.bridged_pair import DESTROYING, INSTALLED, Node, bridged
from contract.charon_pair import Side, two_charons
from contract.charons import connection, needs_charon
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.bridge.certificate_table import BridgeCertificates
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Policy, StaticPeer
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import POLICY, UNITS, certificate, der, policy, request
from fakes.admission import Admission
from fakes.frr import MemoryStore
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]

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
        await self.node.ask("load-conn", {name: _conn(self.node, self.peer, (OWN,), asked, "%any", ELSEWHERE)})

    async def attack(self, name: str, way: Way, source: str = ELSEWHERE) -> IkeSa:
        """Have the attacker come, while its own connection is named like the node's."""
        made = _conn(self.peer, self.node, way.done, (OWN,), self.node.host, ELSEWHERE)
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


def _conn(own: Side, other: Side, done: Rounds, asked: Rounds, remote: str, inside: str) -> dict[str, Any]:
    pem = x509.load_der_x509_certificate(own.certificate).public_bytes(Encoding.PEM)
    made = connection({}, own.host, remote, f"{own.inner}/32", f"{other.inner}/32")
    del made["local"], made["remote"]
    local = {f"local-{n}": {"auth": "pubkey", "certs": [pem]} if "own" in one else one for n, one in enumerate(done)}
    remote_rounds = {f"remote-{n}": {"auth": "pubkey"} if "own" in one else one for n, one in enumerate(asked)}
    return {**made, **local, **remote_rounds, "unique": "never"}


@asynccontextmanager
async def _scene(folder: Path, profiles: Mapping[str, str], by: Policy = POLICY) -> AsyncIterator[Scene]:
    async with two_charons(folder) as (node, peer):
        peer.space.run("ip", "addr", "add", f"{ELSEWHERE}/24", "dev", "eth0")
        for side in (node, peer):
            await side.ask("load-shared", SECRET)
            await side.ask("load-shared", PASSWORD)
        await node.ask("load-conn", {"dmvpn": _conn(node, peer, (OWN,), (OWN,), "%any", "")})
        async with bridged(node, frozenset(profiles.values())) as bridge:
            telemetry = Telemetry()
            known = BridgeCertificates(node.path.with_suffix(".sqlite"))
            watch = CharonWatch(ViciCharon(node.path, telemetry), profiles, telemetry, certificates=known)
            admission = Admission(MemoryStore(), telemetry, Clocks(), by, watch)
            async with running(watch.run()):
                await until(lambda: watch.connected)
                yield Scene(node, peer, bridge, watch, admission)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the agent not wait for long for a certificate that never comes."""
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.5)


ONE = {"gre1": "dmvpn"}
BOTH = {"gre1": "dmvpn", "gre2": "keys"}
TWO_INTERFACES = policy(rules={"gre1": POLICY.rules["gre1"], "gre2": POLICY.rules["gre1"]})


@pytest.mark.parametrize("online", [True, False], ids=["victim online", "victim gone"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_who_proved_no_certificate_has_none(tmp_path: Path, way: Way, online: bool) -> None:
    """In a profile of the DMVPN: nhrpd is told without, and the agent accepts neither with nor without."""
    async with _scene(tmp_path, BOTH, TWO_INTERFACES) as scene:
        await scene.load("keys", way.asked)
        await scene.come()
        assert scene.told(scene.peer.host)[-1] == (INSTALLED, VICTIM)
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        if not online:
            await scene.leave()
        sa = await scene.attack("keys", way)
        assert (sa.name, sa.remote_id) == ("keys", way.shown)
        assert {shown for _, shown in scene.told(ELSEWHERE)} == {b""}
        for interface in BOTH:
            for shown, reason in ((VICTIM, Reason.CERTIFICATE_UNCONFIRMED), (b"", Reason.NO_CERTIFICATE)):
                denied = await scene.ask(interface, ELSEWHERE, shown)
                assert isinstance(denied, Deny), (interface, bool(shown))
                assert denied.reason is reason


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_connection_that_is_no_profile_does_not_exist(tmp_path: Path, way: Way) -> None:
    """nhrpd is not told of its IKE_SAs, cannot end them, and nobody in it can confirm a certificate."""
    async with _scene(tmp_path, ONE) as scene:
        await scene.load("dmvpn-office", way.asked)
        await scene.come()
        sa = await scene.attack("dmvpn-office", way)
        assert sa.name == "dmvpn-office"
        assert scene.told(ELSEWHERE) == []
        nhrpd = scene.bridge.nhrpd
        answers = len(nhrpd.answers)
        nhrpd.request("terminate", ike_id=str(sa.unique_id))
        nhrpd.request("terminate", ike="dmvpn-office")
        nhrpd.request("list-sas")
        await until(lambda: len(nhrpd.answers) == answers + 3)
        assert [answer.message["success"] for answer in nhrpd.answers[answers:]] == [b"no", b"no", b"yes"]
        assert sa.unique_id in {one.unique_id for one in await scene.node.sas()}
        assert scene.told(ELSEWHERE) == []
        denied = await scene.ask("gre1", ELSEWHERE, VICTIM)
        assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED


async def test_a_connection_that_is_loaded_anew_proves_nothing_for_who_was_there(tmp_path: Path) -> None:
    """By pre-shared key at first, then by certificate: its IKE_SAs stay what they were, rekeyed or not."""
    way = WAYS["pre-shared key"]
    async with _scene(tmp_path, BOTH, TWO_INTERFACES) as scene:
        await scene.load("keys", way.asked)
        await scene.come()
        await scene.attack("keys", way)
        await scene.load("keys", (OWN,))
        await scene.look()
        before = {sa.spis for sa in await scene.node.sas()}
        await scene.peer.ask("rekey", {"ike": "attack-keys"})
        await until(lambda: {sa.spis for sa in scene.watch.ike_sas} - before)
        await scene.look()
        assert {shown for _, shown in scene.told(ELSEWHERE)} == {b""}
        for shown, reason in ((VICTIM, Reason.CERTIFICATE_UNCONFIRMED), (b"", Reason.NO_CERTIFICATE)):
            assert (await scene.ask("gre2", ELSEWHERE, shown)).reason is reason


async def test_who_was_there_before_the_bridge_authenticates_anew(tmp_path: Path) -> None:
    """Nobody saw how it did: it gets no certificate by its name, and is ended once."""
    way = WAYS["pre-shared key"]
    async with two_charons(tmp_path) as (node, peer):
        peer.space.run("ip", "addr", "add", f"{ELSEWHERE}/24", "dev", "eth0")
        for side in (node, peer):
            await side.ask("load-shared", SECRET)
        await node.ask("load-conn", {"dmvpn": _conn(node, peer, (OWN,), way.asked, "%any", "")})
        made = _conn(peer, node, way.done, (OWN,), node.host, "")
        await peer.ask("load-conn", {"attack": {**made, "local_addrs": [ELSEWHERE]}})
        await peer.ask("initiate", {"ike": "attack", "child": "dmvpn", "timeout": "10000"})
        (sa,) = await node.sas()
        assert (sa.name, sa.remote_id) == ("dmvpn", NAME)
        await node.ask("load-conn", {"dmvpn": _conn(node, peer, (OWN,), (OWN,), "%any", "")})
        await peer.show(VICTIM, node)
        await peer.ask("initiate", {"ike": "dmvpn", "child": "dmvpn", "timeout": "10000"})
        async with bridged(node) as bridge:
            while sa.spis in {one.spis for one in await node.sas()}:
                pass
            told = zip(bridge.nhrpd.received, bridge.nhrpd.remotes, strict=True)
            assert {shown for (_, _, shown), remote in told if remote == ELSEWHERE} <= {b""}


@pytest.mark.parametrize("online", [True, False], ids=["victim online", "victim gone"])
async def test_who_is_behind_the_same_address_is_told_apart(tmp_path: Path, online: bool) -> None:
    """As behind one NAT: the victim is served where it is, by its own interface, and the attacker nowhere."""
    async with _scene(tmp_path, BOTH, TWO_INTERFACES) as scene:
        await scene.load("keys", ({"auth": "psk"},))
        await scene.come()
        if not online:
            await scene.leave()
        await scene.attack("keys", WAYS["pre-shared key"], scene.peer.host)
        for shown in (VICTIM, b""):
            assert isinstance(await scene.ask("gre1", scene.peer.host, shown), Accept) == online
            assert isinstance(await scene.ask("gre2", scene.peer.host, shown), Deny)


async def test_a_row_for_a_certificate_serves_no_pre_shared_key(tmp_path: Path) -> None:
    """With ``override``, whatever identity the key's holder chooses; and a row for keys serves no certificate."""
    rows = tuple(
        StaticPeer(NAME, certificate().resources[next(iter(certificate().resources))], overrides=overrides)
        for overrides in (True, False)
    )
    by = policy(rules=TWO_INTERFACES.rules, static_peers=rows[:1])
    async with _scene(tmp_path, BOTH, by) as scene:
        await scene.load("keys", ({"auth": "psk"},))
        await scene.come()
        await scene.attack("keys", WAYS["pre-shared key"])
        assert (await scene.ask("gre2", ELSEWHERE, b"")).reason is Reason.NO_CERTIFICATE
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        scene.admission.reauthorizer.use_policy(policy(rules=TWO_INTERFACES.rules, static_peers=rows[1:]))
        assert isinstance(await scene.ask("gre2", ELSEWHERE, b""), Accept)
        assert (await scene.ask("gre1", ELSEWHERE, b"")).reason is Reason.NO_CERTIFICATE


async def test_a_profile_counts_on_its_own_interface(tmp_path: Path) -> None:
    """An IKE_SA by certificate of one profile confirms nothing on the interface of another."""
    async with _scene(tmp_path, BOTH, TWO_INTERFACES) as scene:
        await scene.come()
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        denied = await scene.ask("gre2", scene.peer.host, VICTIM)
        assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED
