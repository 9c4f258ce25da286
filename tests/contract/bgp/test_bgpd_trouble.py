"""A real bgpd in trouble: killed, stopped, shared with an operator, with a huge configuration."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from contract.frr import HUB, SPEAKER, KillingProxy, RealBgpd, available, vtysh_for
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.plan import RefreshInbound, plan
from dmvpn_agent.bgp.settings import Instance
from dmvpn_agent.frr.vty import TERMINATOR, VtySockets
from dmvpn_agent.frr.vtysh import Vtysh
from factories import spoke
from fakes.bgpd_model import BgpdModel
from fakes.frr_states import wanted
from fakes.vty_server import VtyServer, reply
from fakes.waiting import LIMIT

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]
#: Each has an identity of its own, or all would be one peer with one neighbor.
MANY_SPOKES = [
    replace(spoke(2), protocol_address=ip_address("10.255.1.0") + number, identity=f"spoke{number}")
    for number in range(600)
]
MANY = wanted(MANY_SPOKES)


@pytest.fixture
def real() -> Iterator[RealBgpd]:
    real = RealBgpd()
    try:
        real.start()
        yield real
    finally:
        real.stop()


class Operator:
    """An operator at bgpd's command line, for any time."""

    def __init__(self, real: RealBgpd) -> None:
        self._path = real.directory / "bgpd.vty"

    async def __aenter__(self) -> "Operator":
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        await self.type("enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def type(self, line: str) -> str:
        self._writer.write(line.encode() + b"\0")
        text = await self._reader.readuntil(TERMINATOR)
        assert await self._reader.readexactly(1) == b"\0", text
        return text.removesuffix(TERMINATOR).decode()


@pytest.mark.parametrize("writer", ["vtysh", "vty"])
async def test_an_operator_in_configuration_mode_does_not_lock_out_the_agent(real: RealBgpd, writer: str) -> None:
    """bgpd has no lock in its usual mode: it keeps the lines of both, and the operator stays in his mode."""
    bgpd, goal = real.adapter("vty", writer), wanted([spoke(2)])
    async with Operator(real) as operator:
        for line in ("configure terminal", "router bgp 65000", "neighbor 10.255.0.77 remote-as 64999"):
            await operator.type(line)
        await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
        await operator.type("neighbor 10.255.0.77 description mine")
    observed = (await bgpd.observe()).config
    assert plan(goal, observed).changes == ()
    assert observed.neighbors[ip_address("10.255.0.77")].description == "mine"


@pytest.mark.parametrize("commands", [10, 300, 800], ids=["at the start", "in the first batch", "in the second"])
@pytest.mark.parametrize("writer", ["vtysh", "vty"])
async def test_killing_bgpd_while_the_agent_writes_is_an_outage(
    real: RealBgpd, tmp_path: Path, writer: str, commands: int
) -> None:
    """A write that bgpd does not survive is FrrUnavailable, not FrrRefused; the next pass completes it."""
    async with KillingProxy(real, tmp_path, commands) as proxy:
        bgpd = FrrBgpd(VtySockets(real.directory), proxy.terminals[writer], Instance(65000))
        changes = plan(MANY, (await bgpd.observe()).config).changes
        with pytest.raises(FrrUnavailable, match="bgpd"):
            await bgpd.apply(changes)
        assert proxy.killed
        real.start()
        await bgpd.apply(plan(MANY, (await bgpd.observe()).config).changes)
    assert plan(MANY, (await bgpd.observe()).config).changes == ()


@pytest.mark.parametrize("transport", ["vtysh", "vty"])
async def test_a_hanging_bgpd_is_unavailable_until_it_continues(real: RealBgpd, transport: str) -> None:
    """Reading and writing time out."""
    bgpd, goal = real.adapter(transport, transport, timeout=0.3), wanted([spoke(2)])
    changes = plan(goal, (await bgpd.observe()).config).changes
    os.kill(real.pid, signal.SIGSTOP)
    try:
        with pytest.raises(FrrUnavailable, match=r"did not (answer|end) within 0\.3 s"):
            await bgpd.observe()
        with pytest.raises(FrrUnavailable, match=r"did not (answer|end) within 0\.3 s"):
            await bgpd.apply(changes)
    finally:
        os.kill(real.pid, signal.SIGCONT)
    bgpd = real.adapter(transport, transport)
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    assert plan(goal, (await bgpd.observe()).config).changes == ()


@pytest.mark.parametrize("writer", ["vtysh", "vty"])
async def test_an_error_with_status_0_is_a_refusal(real: RealBgpd, writer: str) -> None:
    """vtysh ends with 0 if the neighbor to refresh is gone: only the message shows it."""
    with pytest.raises(FrrRefused, match="Unknown neighbor"):
        await real.adapter("vty", writer).apply([RefreshInbound(ip_address("10.255.0.9"))])


async def test_a_connection_that_ends_in_configuration_mode_keeps_its_lines(real: RealBgpd) -> None:
    """And nothing else: the next connection begins in view mode."""
    async with Operator(real) as operator:
        for line in ("configure terminal", "ip prefix-list mine seq 5 permit 10.0.0.0/8", "router bgp 65000"):
            await operator.type(line)
    assert (await real.adapter().observe()).config.prefix_lists.keys() == {"mine"}
    bgpd, goal = real.adapter("vty", "vty"), wanted([spoke(2)])
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    assert plan(goal, (await bgpd.observe()).config).changes == ()


@pytest.mark.parametrize("transport", ["vtysh", "vty"])
async def test_an_operators_20000_lines_are_read(transport: str) -> None:
    """The agent reads a neighbor behind them, with its whole description."""
    networks = "".join(f"  network 10.{number >> 8}.{number & 255}.0/24\n" for number in range(20_000))
    neighbor = ' neighbor 10.255.0.9 remote-as 64512\n neighbor 10.255.0.9 description one ! of # "us"\n'
    real = RealBgpd(f"{HUB}{neighbor} address-family ipv4 unicast\n{networks} exit-address-family\n")
    try:
        real.start()
        config = (await real.adapter(transport).observe()).config
    finally:
        real.stop()
    assert config.neighbors[ip_address("10.255.0.9")].description == 'one ! of # "us"'
    assert config.peer_groups == {"spokes", "others", "hubs", "internal"}


@pytest.mark.parametrize("transport", ["vtysh", "vty"])
async def test_half_a_configuration_is_an_outage(tmp_path: Path, transport: str) -> None:
    """vtysh prints it with status 0; the next command shows that bgpd is gone."""
    config = BgpdModel().running_config()
    half = config[: config.index("peer-group")]

    def killed(command: str) -> bytes:
        if "write terminal" in command or "running-config" in command:
            server.path.unlink()
            return half.encode()
        return reply()

    terminal = Vtysh(str(vtysh_for(tmp_path))) if transport == "vtysh" else VtySockets(tmp_path)
    async with VtyServer(tmp_path, killed) as server:
        with pytest.raises(FrrUnavailable):
            await FrrBgpd(terminal, terminal, Instance(65000)).observe()


async def test_vtysh_and_the_socket_give_the_same_values(real: RealBgpd) -> None:
    """The socket's output has neither header nor end line."""
    await real.adapter().apply(plan(MANY, (await real.adapter().observe()).config).changes)
    by_socket, by_vtysh = await real.adapter("vty").observe(), await real.adapter("vtysh").observe()
    assert by_socket.config == by_vtysh.config
    assert by_socket.sessions.keys() == by_vtysh.sessions.keys() == MANY.neighbors.keys()


@pytest.fixture
def speaker(real: RealBgpd) -> Iterator[RealBgpd]:
    speaker = RealBgpd(SPEAKER, namespace=real.pid, address="10.255.0.2")
    try:
        speaker.start()
        yield speaker
    finally:
        speaker.stop()


async def _established(bgpd: FrrBgpd) -> None:
    async with asyncio.timeout(LIMIT):
        while (await bgpd.observe()).sessions[ip_address("10.255.0.2")].state != "Established":
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("writer", ["vtysh", "vty"])
@pytest.mark.usefixtures("speaker")
async def test_a_neighbor_of_a_large_batch_comes_up(real: RealBgpd, writer: str) -> None:
    """bgpd delays it for a second, as after reading a configuration file."""
    bgpd = real.adapter("vty", writer)
    goal = wanted([*MANY_SPOKES, spoke(2)])
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    assert plan(goal, (await bgpd.observe()).config).changes == ()
    await _established(bgpd)


@pytest.mark.parametrize("writer", ["vtysh", "vty"])
@pytest.mark.usefixtures("speaker")
async def test_a_transaction_that_a_crashed_writer_left_open_delays_no_neighbor(real: RealBgpd, writer: str) -> None:
    """bgpd would start no new neighbor for ten minutes."""
    async with Operator(real) as former:
        for line in ("configure terminal", "XFRR_start_configuration", "ip prefix-list x seq 5 permit any"):
            await former.type(line)
    bgpd, goal = real.adapter("vty", writer), wanted([spoke(2)])
    assert "x" in (await bgpd.observe()).config.prefix_lists
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    await _established(bgpd)
