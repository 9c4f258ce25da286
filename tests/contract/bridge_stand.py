"""A bridge in the test's process, between a fake charon and clients that behave as nhrpd."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge.acquire import AcquireFailed, Acquirer
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.commands import Commands, InitLimits
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
from dmvpn_agent.bridge.vici_server import ViciServer
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.clocks import Clocks, utc_now
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
    """A charon, the bridge, and the packets that it sent to start SAs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listen = folder / "charon.vici"
        self.charon = FakeCharon(folder / "real.vici")
        self.charon.certificates = [der(name="other"), der()]
        self.telemetry = Telemetry()
        self.packets: list[tuple[Address, Address]] = []
        self.refusal: str | None = None
        self.forged: list[bytes] = []
        self.limits = InitLimits()
        self.now = 0.0
        self.off = timedelta()
        self.bridge: Bridge

    def is_ours(self, certificate: bytes, _: Sequence[bytes]) -> bool:
        return certificate not in self.forged

    def send_acquire_packet(self, local: Address, remote: Address) -> None:
        if self.refusal:
            raise AcquireFailed(self.refusal)
        self.packets.append((local, remote))

    @asynccontextmanager
    async def bridged(self) -> AsyncIterator[None]:
        store = Store(self.folder / "bridge.sqlite", CertificateTable.TABLE)
        store.open()
        clocks = Clocks(lambda: utc_now() + self.off)
        certificates = Certificates(CertificateTable(store), self.is_ours, self.telemetry, clocks)
        certificates.start()
        upstream = ViciCharon(self.charon.path, self.telemetry)
        duplicates = DuplicateTerminator({"dmvpn"}, self.telemetry, lambda: self.now)
        acquirer = Acquirer(self.send_acquire_packet, self.telemetry, lambda: self.now)
        self.bridge = Bridge(
            upstream, certificates, duplicates, acquirer, {"dmvpn", "dmvpn2"}, self.telemetry, clock=clocks.now
        )
        commands = Commands(self.bridge, acquirer, {"dmvpn", "dmvpn2"}, self.limits, self.telemetry)
        server = ViciServer(self.listen, self.bridge, commands.answer, self.telemetry, max_unsent=100_000)
        server.start()
        try:
            async with running(self.bridge.run()):
                yield
        finally:
            server.stop()
            store.close()

    async def came(self, sa: FakeSa) -> None:
        """Let an IKE_SA come up under a bridge that then stops: the next one finds its certificate stored."""
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
