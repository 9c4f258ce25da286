"""How charon ends an IKE_SA for the agent, on two real ones."""

import os
import signal
from pathlib import Path

import pytest

from contract.charon_network import Network
from contract.charons import needs_charon
from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.core.sa import IkeSa
from dmvpn_agent.service.charon import list_sas
from dmvpn_agent.service.charon_watch import CharonWatch
from dmvpn_agent.service.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


async def _sas(charon: ViciCharon) -> list[IkeSa]:
    async with charon.session() as session:
        return await list_sas(session)


async def test_a_peer_that_does_not_answer_holds_up_nothing(tmp_path: Path, telemetry: Telemetry) -> None:
    """charon forgets the IKE_SA at once; the peer is told all the same, and believes it when it wakes."""
    network = Network(tmp_path, 1)
    spokes = ViciCharon(network.spokes.path, Telemetry())
    try:
        await network.start()
        watch = CharonWatch(ViciCharon(network.hub.path, telemetry), {"dmvpn"}, telemetry)
        async with running(watch.run()):
            await network.initiate(network.certificates)
            await until(lambda: list(watch.our_sas()))
            os.kill(network.spokes.pid, signal.SIGSTOP)
            await watch.end(next(watch.our_sas()))
            await watch.look()
            assert list(watch.our_sas()) == []
            os.kill(network.spokes.pid, signal.SIGCONT)
            while await _sas(spokes):
                pass
    finally:
        network.stop()
