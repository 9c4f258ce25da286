"""A bridge in the test itself, between a fake charon and clients that do what nhrpd does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge.acquire import AcquireFailed, Acquirer
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.commands import Commands, InitLimits
from dmvpn_agent.bridge.surplus_watch import SurplusEnder
from dmvpn_agent.bridge.vici_server import ViciServer
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import der
from fakes.charon import FakeCharon, FakeSa
from fakes.nhrpd_vici import NhrpdVici, nhrpd_at
from fakes.waiting import running, until

NAME = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
HUB, SPOKE = ip_address("203.0.113.1"), ip_address("203.0.113.2")
INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


class Stand:
    """A charon, the bridge, and what it sent as triggers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listen = folder / "charon.vici"
        self.charon = FakeCharon(folder / "real.vici")
        self.charon.certificates = [der(name="other"), der()]
        self.telemetry = Telemetry()
        self.triggers: list[tuple[Address, Address]] = []
        self.refusal: str | None = None
        self.forged: list[bytes] = []
        self.limits = InitLimits()
        self.now = 0.0
        self.bridge: Bridge

    def is_ours(self, certificate: bytes, _: Sequence[bytes]) -> bool:
        return certificate not in self.forged

    def send_acquire_packet(self, local: Address, remote: Address) -> None:
        if self.refusal:
            raise AcquireFailed(self.refusal)
        self.triggers.append((local, remote))

    @asynccontextmanager
    async def bridged(self) -> AsyncIterator[None]:
        store = Store(self.folder / "bridge.sqlite", CertificateTable.TABLE)
        store.open()
        certificates = Certificates(CertificateTable(store), self.is_ours, self.telemetry)
        certificates.start()
        upstream = ViciCharon(self.charon.path, self.telemetry)
        surplus = SurplusEnder({"dmvpn"}, self.telemetry, lambda: self.now)
        acquirer = Acquirer(self.send_acquire_packet, self.telemetry, lambda: self.now)
        self.bridge = Bridge(upstream, certificates, surplus, acquirer, {"dmvpn", "dmvpn2"}, self.telemetry)
        commands = Commands(self.bridge, acquirer, {"dmvpn", "dmvpn2"}, self.limits, self.telemetry)
        server = ViciServer(self.listen, self.bridge, commands.answer, self.telemetry, max_waiting=100_000)
        server.start()
        try:
            async with running(self.bridge.run()):
                yield
        finally:
            server.stop()
            store.close()

    async def came(self, sa: FakeSa) -> None:
        """Have an IKE_SA come while a bridge is there, which is then stopped: the next one finds what was stored."""
        async with self.bridged():
            await until(lambda: self.bridge.ready)
            self.charon.up(sa)
            await until(lambda: self.bridge.circuits.announced)

    @asynccontextmanager
    async def nhrpd(self) -> AsyncIterator[NhrpdVici]:
        await until(lambda: self.bridge.ready)
        async with nhrpd_at(self.listen) as client:
            yield client


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    stand = Stand(tmp_path)
    await stand.charon.start()
    yield stand
    await stand.charon.stop()


def spoke(unique_id: int = 1, **changes: object) -> FakeSa:
    return FakeSa(unique_id, str(SPOKE), NAME, children={10 + unique_id: "INSTALLED"}, **changes)  # type: ignore[arg-type]
