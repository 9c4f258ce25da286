"""An agent with a real bgpd; the time of day jumps by a year."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from contract.frr import RealBgpd, available
from dmvpn_agent.app import AgentApp
from dmvpn_agent.bgp import metrics
from dmvpn_agent.config.file import load
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.runtime.clocks import Clocks, uptime, utc_now
from factories import der, event
from fakes.charon import FakeCharon, FakeSa
from fakes.vty_server import VtyServer, reply
from fakes.waiting import running, until

CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{directory}/vici"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["192.168.0.0/16"]
confirm_certificates = false
[bgp]
as_number = 65000
[redirect]
enabled = false
[frr]
vty_directory = "{frr}"
vtysh = "{frr}/vtysh"
[metrics]
listen = ""
"""
YEAR = timedelta(days=365)
NAME = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="no bgpd")]


class Hub:
    """The agent and its neighbors. ``bound``: whether nhrpd has the spoke in its cache."""

    def __init__(self, bgpd: RealBgpd, directory: Path) -> None:
        self.bgpd = bgpd
        self.directory = directory
        self.off = timedelta()
        self.bound = True
        self.reads = 0
        file = directory / "agent.toml"
        file.write_text(CONFIG.format(directory=directory, frr=bgpd.directory))
        config = load(file)
        # Shorter than the configuration allows, so that many passes take little time.
        config = replace(config, frr=replace(config.frr, coalesce=0, resync_interval=0.05))
        self.frr: Frr = config.frr
        self.later = timedelta()
        self.app = AgentApp(config, clocks=Clocks(lambda: utc_now() + self.off, lambda: uptime() + self.later))

    def cache(self, _: str) -> bytes:
        self.reads += 1
        row = {"interface": "gre1", "type": "dynamic", "protocol": "10.255.0.2", "nbma": "203.0.113.2"}
        return reply(json.dumps({"attr": {}, "table": [row] if self.bound else []}))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with VtyServer(self.bgpd.directory, self.cache, "nhrpd"):
            await self.app.start()
            try:
                async with running(self.app.run()):
                    yield
            finally:
                await self.app.stop()

    async def ask(self, days: float) -> bytes:
        """Send nhrpd's event for the spoke, with a certificate valid for so many days before and after now."""
        today = utc_now().replace(microsecond=0)
        certificate = der(not_before=today - timedelta(days=days), not_after=today + timedelta(days=days))
        reader, writer = await asyncio.open_unix_connection(self.directory / "nhrp.sock")
        writer.write(event(der_hex=certificate.hex()))
        try:
            return await reader.readuntil(b"\n\n")
        finally:
            writer.close()

    async def passes(self, count: int = 5) -> None:
        """Wait for several more passes of the bindings and of the reconciler."""
        reads, passes = self.reads, self._passes()
        self.app.components.admission.reauthorizer.sas_changed()
        await until(lambda: self.reads >= reads + count and self._passes() >= passes + count)

    def _passes(self) -> float:
        return sum(self.app.process.telemetry.samples(metrics.RECONCILES).values())

    async def has_neighbor(self) -> bool:
        config = await asyncio.to_thread(self.bgpd.type, "show running-config")
        return "neighbor 10.255.0.2 " in config

    async def until_neighbor(self, expected: bool) -> None:
        async with asyncio.timeout(30):
            while await self.has_neighbor() is not expected:
                await asyncio.sleep(0.05)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    bgpd = RealBgpd()
    await asyncio.to_thread(bgpd.start)
    charon = FakeCharon(tmp_path / "vici", patched=True)
    charon.sas[1] = FakeSa(1, "203.0.113.2", NAME, children={11: "INSTALLED"})
    await charon.start()
    yield Hub(bgpd, tmp_path)
    await charon.stop()
    await asyncio.to_thread(bgpd.stop)


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
async def test_no_peer_loses_its_neighbor(hub: Hub, jump: timedelta) -> None:
    """Bound, absent, and bound again, with a jump in each state. The monotonic clock measures the linger time."""
    async with hub.at_work():
        assert b"accept" in await hub.ask(days=4000)
        await hub.until_neighbor(True)
        hub.off += jump
        await hub.passes()
        assert await hub.has_neighbor()
        hub.bound = False
        await hub.passes()
        hub.off += jump
        await hub.passes()
        assert await hub.has_neighbor()
        (peer,) = hub.app.status()["peers"]
        assert not peer["bound"]
        hub.bound = True
        hub.off -= 3 * jump
        await hub.passes()
        assert await hub.has_neighbor()
        hub.bound = False
        await hub.passes()
        hub.later += timedelta(seconds=hub.frr.linger + 1)
        await hub.until_neighbor(False)


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
async def test_validity_follows_the_time_of_day(hub: Hub, jump: timedelta) -> None:
    """A certificate that is not valid at the new time is denied, and accepted after the time is correct again."""
    async with hub.at_work():
        assert b"accept" in await hub.ask(days=30)
        await hub.until_neighbor(True)
        hub.off = jump
        assert b"deny" in await hub.ask(days=30)
        await hub.until_neighbor(False)
        hub.off = timedelta()
        assert b"accept" in await hub.ask(days=30)
        await hub.until_neighbor(True)


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
async def test_a_back_off_continues(hub: Hub, jump: timedelta) -> None:
    """bgpd is down during the jump; the agent reconciles it after its start."""
    async with hub.at_work():
        assert b"accept" in await hub.ask(days=4000)
        await hub.until_neighbor(True)
        await asyncio.to_thread(hub.bgpd.kill)
        await until(lambda: hub.app.status()["frr"]["trouble"])
        hub.off = jump
        await asyncio.to_thread(hub.bgpd.start)
        await hub.until_neighbor(True)
        await until(lambda: hub.app.status()["frr"]["trouble"] is None)
