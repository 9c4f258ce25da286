"""A hub with more spokes than charon's cache has room for: a real charon, a bridge and an agent as processes."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from contract.agent import Agent
from contract.charon_network import Network, address, protocol_address
from contract.charons import needs_charon
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.charon.commands import list_certificates
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from factories import event
from fakes.nhrpd_vici import NhrpdVici
from fakes.stored import rows_on_disk
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]

#: charon's cache holds 32 verified relations.
SPOKES = 40
CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/hub.vici"
[bridge]
listen = "{directory}/charon.vici"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
ca_certificates = ["{directory}/ca.pem"]
[bgp]
as_number = 65000
[redirect]
enabled = false
[frr]
vtysh = "{directory}/no-vtysh"
vty_directory = "{directory}"
[metrics]
listen = ""
"""


class Hub:
    """The hub's processes, and its spokes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = Network(folder, SPOKES + 1)
        self.processes = Agent(folder, CONFIG)
        self.listen = folder / "charon.vici"
        (folder / "ca.pem").write_bytes(self.network.ca_pem)

    def start(self) -> None:
        times = len(self.processes.processes) // 2 + 1
        self.processes.start(command="bridge")
        self.processes.start()
        self.processes.wait_for("bridge_ready", times)
        self.processes.wait_for("agent_ready", times)

    async def told(self, event_name: str, count: int, nhrpd: NhrpdVici) -> list[bytes]:
        """Wait until nhrpd has received so many CHILD_SAs; return their certificates, sorted."""
        await until(lambda: len(nhrpd.events(event_name)) >= count)
        return sorted(certificate for name, _, certificate in nhrpd.received if name == event_name)

    async def in_charons_cache(self) -> list[bytes]:
        async with self.network.hub.session() as session:
            return await list_certificates(session)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    hub = Hub(tmp_path)
    try:
        await hub.network.start()
        hub.start()
        yield hub
    finally:
        hub.processes.kill()
        hub.network.stop()


async def _nhrpd(hub: Hub) -> NhrpdVici:
    nhrpd = NhrpdVici()
    await nhrpd.start(hub.listen)
    return nhrpd


def _question(number: int, certificate: bytes) -> bytes:
    peer, nbma = protocol_address(number), address(number)
    return event(
        number + 1, certificate.hex(), remote_addr=str(peer), remote_nbma=str(nbma), local_addr="10.255.0.254"
    )


def _subject(der: bytes) -> str:
    certificate = read_certificate(der)
    assert isinstance(certificate, Certificate)
    return certificate.subject


def _sorted(certificates: dict[IPv4Address, bytes], count: int) -> list[bytes]:
    return sorted(list(certificates.values())[:count])


async def test_forty_spokes_survive_a_kill_of_bridge_and_agent(hub: Hub) -> None:
    """charon evicts some of their certificates; the bridge loses none, and the agent no peer."""
    certificates = hub.network.certificates
    last = address(SPOKES)
    nhrpd = await _nhrpd(hub)
    for number, (source, certificate) in enumerate(list(certificates.items())[:SPOKES]):
        await hub.network.initiate([source])
        assert certificate in await hub.told("child-state-installed", number + 1, nhrpd)
        assert hub.processes.ask(_question(number, certificate)) == b"eventid=%d\nresult=accept\n\n" % (number + 1)
    assert not set(_sorted(certificates, SPOKES)) <= set(await hub.in_charons_cache())

    await until(lambda: rows_on_disk(hub.folder / "bridge.sqlite", CertificateTable.TABLE) == SPOKES)
    await until(lambda: rows_on_disk(hub.folder / "agent.sqlite", PeerTable.TABLE) == SPOKES)
    hub.processes.kill()
    await until(lambda: nhrpd.closed)
    hub.start()

    nhrpd = await _nhrpd(hub)
    assert await hub.told("list-sa", SPOKES, nhrpd) == _sorted(certificates, SPOKES)
    status = await hub.processes.status_now()
    assert len(status["peers"]) == SPOKES
    await hub.network.initiate([last])
    assert await hub.told("child-state-installed", 1, nhrpd) == [certificates[last]]
    await nhrpd.close()


async def test_a_peer_whose_certificate_was_evicted_authenticates_again(hub: Hub) -> None:
    """All come at once, so charon evicts some certificates before the bridge reads them: the agent ends those SAs.

    The test acts as the spokes' nhrpds: a spoke that loses its SA starts again.
    """
    certificates = hub.network.certificates
    wanted = dict(zip(certificates.values(), range(SPOKES), strict=False))
    sources = {str(source): number for number, source in enumerate(certificates)}
    nhrpd = await _nhrpd(hub)
    await hub.network.initiate(list(certificates)[:SPOKES])
    bound = set[int]()
    while len(bound) < SPOKES:
        await until(lambda: nhrpd.received)
        (name, _, certificate), number = nhrpd.received.pop(0), sources[nhrpd.remotes.pop(0)]
        if name == "child-state-destroying":
            await hub.network.come_back(address(number))
        elif b"accept" in hub.processes.ask(_question(number, certificate)):
            # A question without one is judged by the certificate of the IKE_SA, which may have been found since.
            assert not certificate or wanted[certificate] == number
            bound.add(number)
    status = await hub.processes.status_now()
    assert {peer["protocol_address"]: peer["subject"] for peer in status["peers"]} == {
        str(protocol_address(number)): _subject(certificate) for certificate, number in wanted.items()
    }
    await nhrpd.close()
