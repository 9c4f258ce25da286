"""A peer that does not authenticate by a certificate names itself like one that does, on two real charons."""

from pathlib import Path

import pytest

from contract.bridged_pair import INSTALLED, bridged
from contract.charon_pair import two_charons
from contract.charons import needs_charon
from contract.impersonation import (
    BOTH,
    ELSEWHERE,
    NAME,
    ONE,
    OWN,
    SECRET,
    TWO_INTERFACES,
    VICTIM,
    WAYS,
    Way,
    conn,
    scene_of,
)
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import StaticPeer
from factories import certificate, policy
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the agent not wait for long for a certificate that never comes."""
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.5)


@pytest.mark.parametrize("online", [True, False], ids=["victim online", "victim gone"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_who_proved_no_certificate_has_none(tmp_path: Path, way: Way, online: bool) -> None:
    """In a profile of the DMVPN: nhrpd is told without, and the agent accepts neither with nor without."""
    async with scene_of(tmp_path, BOTH, TWO_INTERFACES) as scene:
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
    async with scene_of(tmp_path, ONE) as scene:
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
    async with scene_of(tmp_path, BOTH, TWO_INTERFACES) as scene:
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
        await node.ask("load-conn", {"dmvpn": conn(node, peer, (OWN,), way.asked, "%any", "")})
        made = conn(peer, node, way.done, (OWN,), node.host, "")
        await peer.ask("load-conn", {"attack": {**made, "local_addrs": [ELSEWHERE]}})
        await peer.ask("initiate", {"ike": "attack", "child": "dmvpn", "timeout": "10000"})
        (sa,) = await node.sas()
        assert (sa.name, sa.remote_id) == ("dmvpn", NAME)
        await node.ask("load-conn", {"dmvpn": conn(node, peer, (OWN,), (OWN,), "%any", "")})
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
    async with scene_of(tmp_path, BOTH, TWO_INTERFACES) as scene:
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
    async with scene_of(tmp_path, BOTH, by) as scene:
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
    async with scene_of(tmp_path, BOTH, TWO_INTERFACES) as scene:
        await scene.come()
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        denied = await scene.ask("gre2", scene.peer.host, VICTIM)
        assert denied.reason is Reason.CERTIFICATE_UNCONFIRMED
