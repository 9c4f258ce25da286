"""How the agent's components are connected."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from configuration import config_from
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.components.root import Components
from dmvpn_agent.runtime.clocks import Clocks
from factories import ADDRESS, UNITS, decide, request


def _components(directory: Path) -> Components:
    """Return the components of a hub, which run nothing."""
    config = config_from(
        {
            "role": "hub",
            "state_directory": str(directory),
            "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["192.168.0.0/16"]},
            "bgp": {"as_number": 65000},
            "metrics": {"listen": ""},
        }
    )
    return Components(config, None, Clocks(), dry_run=True)


async def test_the_shortcuts_through_a_peer_are_shown_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of nhrpd's table, by the protocol address that they lead to."""
    network = ip_network("192.168.9.0/24")
    monkeypatch.setattr(FrrNhrpd, "shortcuts", lambda _: {ADDRESS: (network,)})
    components = _components(tmp_path)
    components.admission.peers.apply_decision(request(*UNITS), decide(request(*UNITS)), timedelta())
    (peer,) = await components.view.peer_watch.refresh()
    assert peer.shortcuts == (network,)
