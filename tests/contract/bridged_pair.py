"""The bridges of two nodes, each on a real charon, with clients that behave as nhrpd."""

from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

from contract.charon_pair import Side, two_charons
from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.commands import Commands, InitLimits
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
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

    def circuits(self) -> set[int]:
        """The CHILD_SAs that nhrpd has now."""
        return self.history()[-1]

    def history(self) -> list[set[int]]:
        history: list[set[int]] = [set()]
        for event, child, _ in self.nhrpd.received:
            history.append(history[-1] - {child} if event == DESTROYING else history[-1] | {child})
        return history

    def lost(self) -> int:
        """How often nhrpd had no circuit any more."""
        return sum(bool(before) and not after for before, after in pairwise(self.history()))

    def announced_spis(self) -> set[str]:
        return {sa.spis for sa, _ in self.bridge.circuits.announced.values()}

    def certificates(self) -> set[bytes]:
        return {certificate for event, _, certificate in self.nhrpd.received if event != DESTROYING}


def any_certificate(_: bytes, __: Sequence[bytes]) -> bool:
    return True


@asynccontextmanager
async def bridged(
    side: Side,
    profiles: Set[str] = frozenset({"dmvpn"}),
    is_ours: IsOurs = any_certificate,
) -> AsyncIterator[Node]:
    telemetry = Telemetry()
    store = Store(side.path.with_suffix(".sqlite"), CertificateTable.TABLE)
    store.open()
    certificates = Certificates(CertificateTable(store), is_ours, telemetry)
    certificates.start()
    acquirer = Acquirer(lambda *_: None, telemetry, lambda: node.now)
    bridge = Bridge(
        ViciCharon(side.path, telemetry),
        certificates,
        DuplicateTerminator(profiles, telemetry, lambda: node.now),
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
