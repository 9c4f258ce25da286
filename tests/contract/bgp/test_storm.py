"""Three hundred spokes register at once while something dies: the result is exactly the desired state."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bench.network import address, units
from contract.frr import RealBgpd, available
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, parse_event
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.x509.trust import Trust
from factories import der, event
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

SPOKES = 300
TODAY = datetime.now(UTC).replace(microsecond=0)
CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/no.vici"
[policy]
confirm_certificates = false
tunnel_networks = ["10.0.0.0/16"]
allowed_networks = ["10.128.0.0/9"]
ca_certificates = []
[frr]
vtysh = "{frr}/vtysh"
vty_directory = "{frr}"
resync_seconds = 2
[bgp]
as_number = 65000
transport = "{transport}"
[redirect]
enabled = false
[metrics]
listen = ""
"""


class Storm:
    """An agent process with a real bgpd, and the requests for all spokes."""

    def __init__(self, directory: Path, transport: str) -> None:
        self.real = RealBgpd()
        self.real.start()
        self.directory = directory
        self.config = directory / "agent.toml"
        self.config.write_text(CONFIG.format(directory=directory, frr=self.real.directory, transport=transport))
        self.agent: subprocess.Popen[bytes] | None = None
        self.questions = [
            event(number + 1, _certificate(number).hex(), remote_addr=str(address(number)))
            for number in range(SPOKES)
        ]

    def start_agent(self) -> None:
        with (self.directory / "log").open("ab") as log:
            argv = [sys.executable, "-m", "dmvpn_agent.cli", "run", "--config", str(self.config)]
            self.agent = subprocess.Popen(argv, stdout=log, stderr=log)
        until_now(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as nhrpd:
            nhrpd.connect(str(self.directory / "nhrp.sock"))
            return True
        return False

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()

    def ask(self, *, answers: int = SPOKES) -> None:
        """Send every request as nhrpd does, and wait for this many replies."""
        with socket.socket(socket.AF_UNIX) as nhrpd:
            nhrpd.settimeout(60)
            nhrpd.connect(str(self.directory / "nhrp.sock"))
            nhrpd.sendall(b"".join(self.questions))
            with nhrpd.makefile("rb") as stream:
                read = 0
                while read < answers:
                    line = stream.readline()
                    assert line, (self.directory / "log").read_text()[-2000:]
                    read += line == b"result=accept\n"

    def neighbors(self) -> int:
        with contextlib.suppress(Exception):
            return len(asyncio.run(self.real.adapter().observe()).config.neighbors)
        return 0

    def stop(self) -> None:
        if self.agent is not None:
            self.kill_agent()
        self.real.stop()


def _certificate(number: int) -> bytes:
    day = timedelta(days=1)
    return der(units(number), name=f"spoke{number}", not_before=TODAY - day, not_after=TODAY + day)


def _desired(storm: Storm) -> Desired:
    """Return what FRR must contain, computed without the agent."""
    config: Config = load(storm.config)
    judge = Judge(config.policy, Trust())
    peers: list[Peer] = []
    for question in storm.questions:
        asked = parse_event(question[:-2])
        assert isinstance(asked, AuthorizeBinding)
        decision = judge.decide(asked.request, datetime.now(UTC))
        assert isinstance(decision, Accept)
        assert decision.peer is not None
        peers.append(decision.peer)
    assert config.bgp is not None
    return desired(peers, config.bgp)


@pytest.fixture(params=["vtysh", "vty"])
def storm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storm]:
    storm = Storm(tmp_path, request.param)
    yield storm
    storm.stop()


def _bgpd_dies(storm: Storm) -> None:
    until_now(lambda: storm.neighbors() > 0)
    storm.real.kill()
    storm.real.start()


def _agent_dies(storm: Storm) -> None:
    until_now(lambda: storm.neighbors() > 0)
    storm.kill_agent()
    storm.start_agent()


def _both_die(storm: Storm) -> None:
    until_now(lambda: storm.neighbors() > 0)
    storm.real.kill()
    storm.kill_agent()
    storm.start_agent()
    storm.real.start()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("accident", [_bgpd_dies, _agent_dies, _both_die], ids=lambda accident: accident.__name__)
def test_the_result_is_exactly_the_desired_state(storm: Storm, accident: Callable[[Storm], None]) -> None:
    """Whatever dies in the middle, and although no spoke registers again."""
    storm.start_agent()
    storm.ask()
    accident(storm)
    goal = _desired(storm)

    def exact() -> bool:
        with contextlib.suppress(Exception):
            observed = asyncio.run(storm.real.adapter().observe()).config
            return plan(goal, observed).changes == () and observed.neighbors.keys() == goal.neighbors.keys()
        return False

    until_now(exact, within=120)
    observed = asyncio.run(storm.real.adapter().observe()).config
    assert observed.neighbors == goal.neighbors
    print(f"{accident.__name__}: {len(observed.neighbors)} neighbors, {len(observed.prefix_lists)} lists, as desired")
