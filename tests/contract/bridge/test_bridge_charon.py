"""The bridges of two nodes, each on a real charon, while SAs come, are replaced, and go."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import pytest

from contract.bridged_pair import INSTALLED, Node, nodes_of
from contract.charon_pair import Side
from contract.charons import needs_charon
from dmvpn_agent.bridge.duplicate_terminator import SETTLING
from dmvpn_agent.charon.session import CommandFailed
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]


async def _initiate(node: Node) -> None:
    await node.side.ask("initiate", {"child": "dmvpn", "timeout": "10000"})


async def _each(nodes: Iterable[Node], condition: Callable[[Node], object]) -> None:
    for node in nodes:
        await until(partial(condition, node))


async def _rekey(nodes: Iterable[Node], side: Side) -> None:
    """Have a side rekey CHILD_SA and IKE_SA, one after the other, until nhrpd on both sides knows."""
    before = {node.side.host: node.circuits() for node in nodes}
    await side.ask("rekey", {"child": "dmvpn"})
    await _each(nodes, lambda node: not node.circuits() & before[node.side.host])
    spis = {sa.spis for sa in await side.sas()}
    await side.ask("rekey", {"ike": "dmvpn"})
    await _each(nodes, lambda node: not spis & node.announced_spis())


async def _up(*nodes: Node) -> None:
    await _initiate(nodes[0])
    await _each(nodes, Node.circuits)


async def test_a_new_peer_is_announced_with_its_certificate(tmp_path: Path) -> None:
    """On both sides, whichever began."""
    async with nodes_of(tmp_path) as nodes:
        await _up(*nodes)
        one, other = nodes
        assert one.certificates() == {other.side.certificate}
        assert other.certificates() == {one.side.certificate}


@pytest.mark.parametrize("who", [0, 1], ids=["initiator", "responder"])
async def test_nhrpd_has_a_circuit_throughout_rekeying(tmp_path: Path, who: int) -> None:
    """CHILD_SA and IKE_SA by turns; the IKE_SA keeps its certificate although charon's cache was flushed."""
    async with nodes_of(tmp_path) as nodes:
        await _up(*nodes)
        for node in nodes:
            await node.side.ask("flush-certs", {"type": "X509"})
        for _ in range(3):
            await _rekey(nodes, nodes[who].side)
        assert [node.lost() for node in nodes] == [0, 0]
        assert [len(node.circuits()) for node in nodes] == [1, 1]
        assert nodes[0].certificates() == {nodes[1].side.certificate}
        assert nodes[1].certificates() == {nodes[0].side.certificate}


async def test_nhrpd_has_a_circuit_throughout_make_before_break_reauthentication(tmp_path: Path) -> None:
    """The new IKE_SA is announced before the old one goes."""
    async with nodes_of(tmp_path) as nodes:
        await _up(*nodes)
        before = {node.side.host: node.circuits() for node in nodes}
        await nodes[0].side.ask("rekey", {"ike": "dmvpn", "reauth": "yes"})
        await _each(nodes, lambda node: node.circuits() and not node.circuits() & before[node.side.host])
        assert [node.lost() for node in nodes] == [0, 0]


async def test_break_before_make_reauthentication_is_announced_as_an_interruption(tmp_path: Path) -> None:
    """Both sides lose the circuit and gain one. A side that did not see it would not register again."""
    async with nodes_of(tmp_path, make_before_break=False) as nodes:
        await _up(*nodes)
        await nodes[0].side.ask("rekey", {"ike": "dmvpn", "reauth": "yes"})
        await _each(nodes, lambda node: len(node.nhrpd.events(INSTALLED)) == 2)
        await _each(nodes, lambda node: len(node.circuits()) == 1)
        assert [node.lost() for node in nodes] == [1, 1]


@pytest.mark.parametrize("force", ["yes", "no"])
async def test_a_terminated_ike_sa_is_announced_at_once_on_both_sides(tmp_path: Path, force: str) -> None:
    """As when the agent ends a denied peer's IKE_SA; no resync is needed."""
    async with nodes_of(tmp_path) as nodes:
        await _up(*nodes)
        await nodes[0].side.ask("terminate", {"ike": "dmvpn", "force": force, "timeout": "1000"})
        await _each(nodes, lambda node: not node.circuits())


async def test_of_two_ike_sas_begun_at_once_one_stays(tmp_path: Path) -> None:
    """Neither charon deletes the other's IKE_SA; after the settling time both bridges agree on the duplicate."""
    async with nodes_of(tmp_path) as nodes:
        await _both_begin(nodes)
        lost = [node.lost() for node in nodes]
        spis = {sa.spis for sa in await nodes[0].side.sas()}
        assert len(spis) == 2
        for node in nodes:
            await _look(node)
            node.now += SETTLING
            await _look(node)
        await _each(nodes, lambda node: len(node.circuits()) == 1)
        assert [{sa.spis for sa in await node.side.sas()} for node in nodes] == [{min(spis)}] * 2
        assert [node.lost() for node in nodes] == lost


async def _both_begin(nodes: Sequence[Node]) -> None:
    """Let each begin before the other has finished; if one was too late, try again."""
    for _ in range(10):
        begun = await asyncio.gather(*(_initiate(node) for node in nodes), return_exceptions=True)
        if begun == [None, None]:
            await _each(nodes, lambda node: node.circuits())
            if len(await nodes[0].side.sas()) == 2:
                await _each(nodes, lambda node: len(node.circuits()) == 2)
                return
        for node in nodes:
            with contextlib.suppress(CommandFailed):  # there may be none
                await node.side.ask("terminate", {"ike": "dmvpn", "force": "yes", "timeout": "1000"})
        await _each(nodes, lambda node: not node.circuits())
    pytest.fail("one was always through before the other began")


async def _look(node: Node) -> None:
    """Let the bridge check for duplicates, as a resync does."""
    assert node.bridge.session is not None
    await node.bridge._duplicates.check(node.bridge.session, node.bridge.circuits.sas.values())


async def test_a_killed_charon_resets_nhrpd_and_comes_back(tmp_path: Path) -> None:
    """Its SAs are gone with it; a new nhrpd receives those that come up afterwards."""
    async with nodes_of(tmp_path) as nodes:
        await _up(*nodes)
        one, other = nodes
        one.side.kill()
        await until(lambda: one.nhrpd.closed)
        await one.side.start()
        await one.side.load(other.side)
        await until(lambda: one.bridge.ready)
        # The bridge ends an IKE_SA that came before it knew the connection, and nobody here asks for another one.
        assert await one.bridge.has_connection("dmvpn")
        again = NhrpdVici()
        await again.connect(one.side.path.with_suffix(".listen"))
        await _initiate(one)
        await until(lambda: other.side.certificate in {one[2] for one in again.received if one[0] == INSTALLED})
        await again.close()
