"""The bridge says late, or cannot write down, which certificate a new IKE_SA has: on two real charons.

nhrpd still shows the victim's certificate, and somebody of another CA comes with the victim's name.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.charons import needs_charon
from contract.impersonation import ELSEWHERE, ONE, VICTIM, scene_of
from contract.other_ca import come, ours, trust
from dmvpn_agent.admission import sa_lookup
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.reasons import Reason

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], check=False)
    if mounted.returncode:
        pytest.skip("may not mount here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path) -> None:
    with (folder / "full").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


async def test_a_full_disk_keeps_out_nobody_and_lets_in_nobody(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bridge answers from memory: the victim is accepted, and whoever poses as it is not."""
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 20.0)
    async with scene_of(small, ONE, is_ours=ours(tmp_path)) as scene:
        _fill(small)
        await scene.come()
        assert isinstance(await scene.ask("gre1", scene.peer.host, VICTIM), Accept)
        for side in (scene.node, scene.peer):
            await trust(side)
        await come(scene)
        assert (await scene.ask("gre1", ELSEWHERE, VICTIM)).reason is Reason.CERTIFICATE_UNCONFIRMED


@pytest.mark.parametrize("impostor", [True, False], ids=["somebody of another CA", "the victim"])
async def test_a_bridge_that_says_nothing_lets_in_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, impostor: bool
) -> None:
    """Once it says something, that counts."""
    monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 0.5)
    async with scene_of(tmp_path, ONE, is_ours=ours(tmp_path)) as scene:
        for side in (scene.node, scene.peer) if impostor else ():
            await trust(side)
        with monkeypatch.context() as late:
            late.setattr(Certificates, "verdict", lambda *_: None)
            if impostor:
                await come(scene)
            else:
                await scene.come()
            await scene.look()
            host = ELSEWHERE if impostor else scene.peer.host
            assert (await scene.ask("gre1", host, VICTIM)).reason is Reason.CERTIFICATE_AWAITED
        monkeypatch.setattr(sa_lookup, "ASK_TIMEOUT", 20.0)
        decision = await scene.ask("gre1", host, VICTIM)
        if impostor:
            assert decision.reason is Reason.CERTIFICATE_UNCONFIRMED
        else:
            assert isinstance(decision, Accept)
