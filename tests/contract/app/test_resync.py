"""``dmvpn-agent resync`` beside a real bgpd."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.agent import CONFIG, Agent
from contract.frr import RealBgpd, available
from dmvpn_agent.cli.main import main
from factories import authority_pem
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

#: The agent compares FRR with what it wants once an hour.
HUB = (
    CONFIG.replace('role = "spoke"', 'role = "hub"')
    .replace("[policy]", '[policy]\nallowed_networks = ["192.168.0.0/16"]\nca_certificates = ["{directory}/ca.pem"]')
    .replace("[frr]\n", "[frr]\nresync_seconds = 3600\n")
    + "[bgp]\nas_number = 65000\n[redirect]\nenabled = false\n"
)


@pytest.fixture
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd()
    bgpd.start()
    yield bgpd
    bgpd.stop()


def test_resync_corrects_what_somebody_changed_by_hand(
    bgpd: RealBgpd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A neighbor that was removed is there again, and the history has the command."""
    config = HUB.replace("{directory}/no-vtysh", str(bgpd.vtysh))
    config = config.replace('vty_directory = "{directory}"', f'vty_directory = "{bgpd.directory}"')
    (tmp_path / "ca.pem").write_bytes(authority_pem())
    agent = Agent(tmp_path, config)
    try:
        agent.start()
        agent.wait_for("agent_ready")

        def has_neighbor() -> bool:
            return "neighbor 10.255.0.2 remote-as" in bgpd.type("show running-config")

        assert agent.ask() == b"eventid=1\nresult=accept\n\n"
        until_now(lambda: has_neighbor() and agent.status()["frr"]["in_sync"])

        def removed() -> bool:
            bgpd.type("configure terminal", "router bgp 65000", "no neighbor 10.255.0.2")
            return not has_neighbor()

        until_now(removed)  # a pass that the acceptance caused may have begun before
        assert main(["resync", "--json", "--config", str(agent.config)]) == 0
        assert json.loads(capsys.readouterr().out)["data"] == {"command": "resync", "resync": "started"}
        until_now(has_neighbor)
        (logged,) = agent.events("operator_command")
        assert logged["command"] == "resync"
    finally:
        agent.kill()
