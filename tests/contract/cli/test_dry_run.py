"""An agent in a dry run, with a real bgpd and nftables."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.agent import Agent
from contract.frr import RealBgpd, available
from contract.namespaces import needs
from dmvpn_agent.cli.main import main
from fakes.waiting import until_now

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd"),
    needs("nft", "nsenter"),
]

CONFIG = """\
role = "hub"
state_directory = "{{directory}}"
control_socket = "{{directory}}/control.sock"
[nhrp]
event_socket = "{{directory}}/nhrp.sock"
[ike]
vici_socket = "{{directory}}/no.vici"
[policy]
confirm_certificates = false
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = ["{{directory}}/ca"]
[bgp]
as_number = 65000
[frr]
vtysh = "{frr}/vtysh"
vty_directory = "{frr}"
resync_seconds = 1
[metrics]
listen = ""
"""


@pytest.fixture
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd()
    bgpd.start()
    yield bgpd
    bgpd.stop()


@pytest.fixture
def agent(bgpd: RealBgpd, tmp_path: Path) -> Iterator[Agent]:
    (tmp_path / "ca").mkdir()
    agent = Agent(tmp_path, CONFIG.format(frr=bgpd.directory), ("nsenter", "-n", "-t", str(bgpd.pid)))
    yield agent
    agent.kill()


def _tables(bgpd: RealBgpd) -> str:
    argv = ("nsenter", "-n", "-t", str(bgpd.pid), "nft", "list", "tables")
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


def test_a_dry_run_changes_nothing_and_a_real_one_makes_the_logged_changes(
    bgpd: RealBgpd, agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent answers nhrpd in both."""
    before = bgpd.type("show running-config")
    process = agent.start("--dry-run")
    agent.wait_for("agent_ready")
    assert agent.ask() == b"eventid=1\nresult=accept\n\n"
    agent.wait_for("would_change", 3)
    agent.wait_for("would_write_nftables")
    assert bgpd.type("show running-config") == before
    assert _tables(bgpd) == ""
    state = agent.status()
    assert state["dry_run"] is True
    assert state["frr"]["pending_changes"] == [entry["change"] for entry in agent.events("would_change")]
    assert main(["status", "--config", str(agent.config)]) == 1  # no charon
    assert "DRY RUN: 3 changes not made" in capsys.readouterr().out
    process.terminate()
    assert process.wait(timeout=30) == 0

    agent.start()
    until_now(lambda: "neighbor 10.255.0.2" in bgpd.type("show running-config"))
    until_now(lambda: "table inet dmvpn_agent" in _tables(bgpd))
    assert agent.status()["dry_run"] is False


def test_drift_and_a_restart_of_frr_are_different_events(bgpd: RealBgpd, agent: Agent) -> None:
    """The agent restores a removed prefix-list and logs drift; after bgpd's SIGKILL it restores everything."""
    agent.start()
    agent.wait_for("agent_ready")
    agent.ask()
    agent.wait_for("reconciled")
    configured = bgpd.type("show running-config")
    bgpd.type("configure terminal", "no ip prefix-list dmvpn-agent-10.255.0.2-in")
    agent.wait_for("reconciled", 2)
    assert [entry["what"] for entry in agent.events("drift")] == [
        {"dmvpn-agent-10.255.0.2-in": "prefix_list_removed"}
    ]  # fmt: skip
    bgpd.kill()
    bgpd.start()
    agent.wait_for("reconciled", 3)
    assert len(agent.events("frr_restarted")) == 1
    assert len(agent.events("drift")) == 1
    assert bgpd.type("show running-config") == configured
