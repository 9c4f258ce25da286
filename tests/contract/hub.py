"""A hub without a running agent, for the commands: a real bgpd, an agent's store and configuration."""

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from contract.frr import RealBgpd
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.cli.main import main
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.store import Store
from factories import certificate, request

CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = ["{directory}/ca"]
[bgp]
as_number = 65000
[redirect]
enabled = false
[source_filter]
mode = "off"
[gre_guard]
mode = "off"
[frr]
vtysh = "{frr}/vtysh"
vty_directory = "{frr}"
"""
TODAY = datetime.now(UTC).replace(microsecond=0)


def stored(number: int) -> BindingRequest:
    """Return the request of spoke number, with a certificate that is valid today."""
    units = (f"GRE=10.255.0.{number}", f"AS={64512 + number}", f"NET=192.168.{number}.0/24")
    dates = {"not_before": TODAY - timedelta(days=1), "not_after": TODAY + timedelta(days=1)}
    return request(
        protocol_address=ip_address(f"10.255.0.{number}"),
        nbma_address=ip_address(f"203.0.113.{number}"),
        certificate=certificate(*units, name=f"spoke{number}", **dates),
    )


class Hub:
    """The hub."""

    def __init__(self, bgpd: RealBgpd, directory: Path) -> None:
        self.bgpd = bgpd
        self.directory = directory
        (directory / "ca").mkdir()
        self.config = directory / "agent.toml"
        self.config.write_text(CONFIG.format(directory=directory, frr=bgpd.directory))
        self.store = Store(directory / "agent.sqlite", PeerTable.TABLE)
        self.store.open()

    def accept(self, *numbers: int) -> None:
        for number in numbers:
            PeerTable(self.store).save(stored(number))
        self.store.flush()

    def run(self, *words: str) -> int:
        return main([*words, "--config", str(self.config)])

    def vtysh(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """Return the vtysh lines that ``plan`` prints."""
        assert self.run("plan", "--json") in (0, 1)
        lines: list[str] = json.loads(capsys.readouterr().out)["data"]["vtysh"]
        return lines
