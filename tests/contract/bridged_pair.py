"""The bridges of two nodes, each on a real charon, with what does as nhrpd does."""

from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

from contract.charon_pair import Side, two_charons
from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.commands import Commands, InitLimits
from dmvpn_agent.bridge.surplus_watch import SurplusEnder
from dmvpn_agent.bridge.vici_server import ViciServer
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.nhrpd_vici import NhrpdVici
from fakes.waiting import running, until

INSTALLED, DESTROYING = "child-state-installed", "child-state-destroying"


class Node:
    """A side's bridge with its nhrpd."""

    def __init__(self, side: Side, nhrpd: NhrpdVici, bridge: Bridge) -> None:
        self.side = side
        self.nhrpd = nhrpd
        self.bridge = bridge
        self.now = 0.0

    def believed(self) -> set[int]:
        """The CHILD_SAs that nhrpd has; each change of it must leave it one, or ``lost`` is told."""
        return self.beliefs()[-1]

    def beliefs(self) -> list[set[int]]:
        beliefs: list[set[int]] = [set()]
        for event, child, _ in self.nhrpd.told:
            beliefs.append(beliefs[-1] - {child} if event == DESTROYING else beliefs[-1] | {child})
        return beliefs

    def lost(self) -> int:
        """How often nhrpd was left without any circuit."""
        return sum(bool(before) and not after for before, after in pairwise(self.beliefs()))

    def told_spis(self) -> set[str]:
        return {sa.spis for sa, _ in self.bridge.circuits.announced.values()}

    def certificates(self) -> set[bytes]:
        return {certificate for event, _, certificate in self.nhrpd.told if event != DESTROYING}


@asynccontextmanager
async def bridged(side: Side, profiles: Set[str] = frozenset({"dmvpn"})) -> AsyncIterator[Node]:
    telemetry = Telemetry()
    store = Store(side.path.with_suffix(".sqlite"), CertificateTable.TABLE)
    store.open()
    certificates = Certificates(CertificateTable(store), lambda *_: True, telemetry)
    certificates.start()
    acquirer = Acquirer(lambda *_: None, telemetry, lambda: node.now)
    bridge = Bridge(
        ViciCharon(side.path, telemetry),
        certificates,
        SurplusEnder(profiles, telemetry, lambda: node.now),
        acquirer,
        profiles,
        telemetry,
    )
    commands = Commands(bridge, acquirer, profiles, InitLimits(), telemetry)
    server = ViciServer(side.path.with_suffix(".listen"), bridge, commands.answer, telemetry)
    server.start()
    node = Node(side, NhrpdVici(), bridge)
    try:
        async with running(bridge.run()):
            await until(lambda: bridge.ready)
            await node.nhrpd.start(side.path.with_suffix(".listen"))
            yield node
    finally:
        await node.nhrpd.close()
        server.stop()
        store.close()


@asynccontextmanager
async def nodes_of(folder: Path, **options: bool) -> AsyncIterator[tuple[Node, Node]]:
    async with AsyncExitStack() as stack:
        one, other = await stack.enter_async_context(two_charons(folder, **options))
        yield await stack.enter_async_context(bridged(one)), await stack.enter_async_context(bridged(other))
