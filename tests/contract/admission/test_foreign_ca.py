"""A CA that charon trusts and the policy does not: its holders are not our peers, on two real charons."""

import asyncio
from ipaddress import ip_address
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest

import foreign_ca
from contract import other_ca
from contract.bridged_pair import INSTALLED
from contract.charons import needs_charon
from contract.impersonation import ELSEWHERE, ONE, OWN, VICTIM, Scene, conn, scene_of
from contract.other_ca import SUBJECT, come, trust
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.bridge.ike_sa_certificates import IkeSaCertificates
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.reasons import Reason
from factories import authority_pem
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the agent not wait for long for a certificate that never comes."""
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.5)


@pytest.fixture
def ours(tmp_path: Path) -> IsOurs:
    return other_ca.ours(tmp_path)


async def _attack(scene: Scene, by: bytes = b"") -> bool:
    """Have him come; return whether charon lets him in."""
    await come(scene, by)
    await scene.look()
    while not scene.watch.certificates_complete("gre1", ip_address(ELSEWHERE)):
        await scene.look()
    return ELSEWHERE in {str(sa.remote_host) for sa in await scene.node.sas()}


async def test_the_agent_waits_until_the_bridge_has_looked(
    tmp_path: Path, ours: IsOurs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nhrpd shows the victim's certificate, and asks before the bridge has stored that it found none."""
    held: list[tuple[IkeSaCertificates, str, str]] = []
    note = IkeSaCertificates.note_not_found
    monkeypatch.setattr(IkeSaCertificates, "note_not_found", lambda *args: held.append(args))
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 8.0)
    async with scene_of(tmp_path, ONE, is_ours=ours) as scene:
        for side in (scene.node, scene.peer):
            await trust(side)
        await come(scene)
        await until(lambda: bool(held))
        await scene.look()
        before = scene.watch.ike_sas
        assert not scene.watch.certificates_complete("gre1", ip_address(ELSEWHERE))
        asked = asyncio.create_task(scene.ask("gre1", ELSEWHERE, VICTIM))
        await until(lambda: scene.watch.ike_sas is not before)
        for args in held:
            note(*args)
        assert (await asked).reason is Reason.CERTIFICATE_UNCONFIRMED


async def _name_ca(scene: Scene) -> None:
    """Load the node's connection again, with the CA of its peers."""
    made = conn(scene.node, scene.peer, (OWN,), ({"auth": "pubkey", "cacerts": [authority_pem()]},), "%any", "")
    await scene.node.ask("load-conn", {"dmvpn": made})
    await scene.look()


@pytest.mark.parametrize("online", [True, False], ids=["victim online", "victim gone"])
async def test_its_holder_is_given_no_certificate_of_ours(tmp_path: Path, ours: IsOurs, online: bool) -> None:
    """The bridge gives nhrpd none, and the agent accepts him neither with the victim's nor without one."""
    async with scene_of(tmp_path, ONE, is_ours=ours) as scene:
        await scene.come()
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        for side in (scene.node, scene.peer):
            await trust(side)
        if not online:
            await scene.leave()
        assert await _attack(scene)
        assert {shown for _, shown in scene.told(ELSEWHERE)} == {b""}
        for shown, reason in ((VICTIM, Reason.CERTIFICATE_UNCONFIRMED), (b"", Reason.NO_CERTIFICATE)):
            assert (await scene.ask("gre1", ELSEWHERE, shown)).reason is reason


async def test_a_connection_that_names_its_ca_serves_its_peers_alone(tmp_path: Path, ours: IsOurs) -> None:
    """Who came before that authenticates anew; charon refuses the other CA's."""
    async with scene_of(tmp_path, ONE, is_ours=ours) as scene:
        for side in (scene.node, scene.peer):
            await trust(side)
        before = await scene.come()
        assert {shown for _, shown in scene.told(scene.peer.host)} == {b""}
        await _name_ca(scene)
        while before.spis in {sa.spis for sa in await scene.node.sas()}:
            await scene.look()
        await scene.come()
        assert scene.told(scene.peer.host)[-1] == (INSTALLED, VICTIM)
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        assert not await _attack(scene)


async def test_a_certificate_that_another_connection_pins_is_not_taken_for_one_of_ours(
    tmp_path: Path, ours: IsOurs
) -> None:
    """charon takes it for each connection that names no CA, although it trusts nobody who issued it."""
    pinned = foreign_ca.certificate("nobody", SUBJECT)
    async with scene_of(tmp_path, ONE, is_ours=ours) as scene:
        await scene.come()
        remote = {"auth": "pubkey", "certs": [DER_cert_to_PEM_cert(pinned)]}
        office = {"version": "2", "local-0": {"auth": "psk", "id": "office"}, "remote-0": remote}
        await scene.node.ask("load-conn", {"office": office})
        assert await _attack(scene, pinned)
        assert {shown for _, shown in scene.told(ELSEWHERE)} == {b""}
        assert (await scene.ask("gre1", ELSEWHERE, VICTIM)).reason is Reason.CERTIFICATE_UNCONFIRMED
        await _name_ca(scene)
        while ELSEWHERE in {str(sa.remote_host) for sa in await scene.node.sas()}:
            await scene.look()
        assert not await _attack(scene, pinned)


async def test_a_ca_that_only_a_stranger_has_keeps_out_nobody(tmp_path: Path, ours: IsOurs) -> None:
    """charon refuses him, and the victim is served as before."""
    async with scene_of(tmp_path, ONE, is_ours=ours) as scene:
        await trust(scene.peer)
        assert not await _attack(scene)
        await scene.come()
        assert scene.told(scene.peer.host)[-1] == (INSTALLED, VICTIM)
