"""How the agent's components are connected."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from configuration import config_from
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.components.root import Components
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.kernel.metrics import PEER_BYTES, PEER_PACKETS, PEER_SPOOFED
from dmvpn_agent.kernel.nftables.section import Owner
from dmvpn_agent.kernel.nftables.shown_table import Count
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.view.metrics import CERTIFICATE_NOT_AFTER
from dmvpn_agent.x509.trust_files import read_trust
from factories import ADDRESS, NOW, UNITS, YEAR, authority_pem, certificate, decide, request


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


async def test_certificates_expiry_is_exported_of_peers_this_node_and_its_cas(tmp_path: Path) -> None:
    """Of two with one subject, as before and after a renewal, the later end counts."""
    components = _components(tmp_path)
    components.admission.peers.apply_decision(request(*UNITS), decide(request(*UNITS)), timedelta())
    await components.view.peer_watch.refresh()
    own, renewed = (certificate(name="hub1", not_after=NOW + timedelta(days)) for days in (3, 300))
    components.charon.watch.own_certificates.known = (renewed, own)
    file = tmp_path / "ca.pem"
    file.write_bytes(authority_pem())
    components.trust.watch.trust, _ = read_trust(replace(components.context.config.trust_files, authorities=(file,)))
    exported = components.context.process.telemetry.samples(CERTIFICATE_NOT_AFTER)
    (ca,) = components.trust.watch.trust.authorities
    assert exported == {
        ("peer", "spoke1", ""): (NOW + YEAR).timestamp(),
        ("own", "", own.subject): (NOW + timedelta(300)).timestamp(),
        ("ca", "", ca.subject): ca.not_after.timestamp(),
    }


async def test_what_the_source_filter_counts_has_the_peers_name(tmp_path: Path) -> None:
    """The word of every other series of the peer; an address that no peer has stays an address."""
    components = _components(tmp_path)
    components.admission.peers.apply_decision(request(*UNITS), decide(request(*UNITS)), timedelta())
    await components.view.peer_watch.refresh()
    nobody = ip_address("10.255.0.77")
    totals = components.kernel.table.peer_totals
    elements = {
        (what, str(address)): Owner(what, address) for address in (ADDRESS, nobody) for what in (RECEIVED, SPOOFED)
    }
    totals.assign(elements)
    totals.update({key: Count(2, 300) for key in elements})
    telemetry = components.context.process.telemetry
    for metric, value in ((PEER_PACKETS, 2), (PEER_BYTES, 300), (PEER_SPOOFED, 2)):
        assert telemetry.samples(metric) == {("spoke1",): value, ("10.255.0.77",): value}


def test_a_hub_too_keeps_ike_sas_with_its_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads nhrpd's hubs when nhrpd has connected, and asks at once when a tunnel interface has moved."""
    called: list[str] = []
    for name in ("expect", "hurry"):
        monkeypatch.setattr(HubSas, name, lambda _, name=name: called.append(name))
    context = _components(tmp_path).context
    context.nhrpd_connected()
    context.tunnel_moved()
    assert called == ["expect", "hurry"]
