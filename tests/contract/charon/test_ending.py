"""How charon deletes an IKE_SA for the agent, with two real charons."""

import os
import signal
from pathlib import Path

import pytest

from contract.charon_network import Network
from contract.charons import needs_charon
from contract.watched import watched
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


async def test_an_ike_sa_is_gone_at_once_even_if_the_peer_does_not_answer(
    tmp_path: Path, telemetry: Telemetry
) -> None:
    """charon notifies the peer all the same, and the peer deletes its IKE_SA when it runs again."""
    network = Network(tmp_path, 1)
    try:
        await network.start()
        async with watched(network.hub.path, telemetry) as watch:
            await network.initiate(network.certificates)
            await until(lambda: list(watch.our_sas()))
            os.kill(network.spokes.pid, signal.SIGSTOP)
            await watch.end(next(watch.our_sas()))
            await watch.refresh()
            assert list(watch.our_sas()) == []
            os.kill(network.spokes.pid, signal.SIGCONT)
            while await network.spokes.sas():
                pass
    finally:
        network.stop()
