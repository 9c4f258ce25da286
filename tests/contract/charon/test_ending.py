"""How charon ends an IKE_SA for the agent, on two real ones."""

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


async def test_a_peer_that_does_not_answer_holds_up_nothing(tmp_path: Path, telemetry: Telemetry) -> None:
    """charon forgets the IKE_SA at once; the peer is told all the same, and believes it when it wakes."""
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
