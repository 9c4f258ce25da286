"""The reconciler on a real bgpd with a thousand spokes, beside ``vtysh -f`` of the same configuration."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from bench.network import LARGE, address, units
from contract.frr import RealBgpd, available
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import plan
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.clocks import Clocks, uptime
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.trust import Trust
from factories import FRR, NOW, SETTINGS, certificate, request
from fakes.frr import MemoryStore
from fakes.waiting import running

SPOKES = 1000
JUDGE = Judge(LARGE, Trust())

Accepted = tuple[BindingRequest, Accept]


def _accepted(number: int) -> Accepted:
    asked = request(certificate=certificate(*units(number), name=f"spoke{number}"), protocol_address=address(number))
    decision = JUDGE.decide(asked, NOW)
    if not isinstance(decision, Accept):
        raise SystemExit(f"spoke{number}: {decision}")
    return asked, decision


class Hub:
    """A bgpd with a reconciler of its own."""

    def __init__(self, writer: str) -> None:
        self.real = RealBgpd()
        self.real.start()
        self.peers = Peers(MemoryStore())
        frr = replace(FRR, coalesce=0.2, resync_interval=3600)
        self.reconciler = Reconciler(
            frr, SETTINGS, self.peers, self.real.adapter(writer=writer), Telemetry(), Clocks()
        )  # fmt: skip

    def admit(self, accepted: Accepted) -> None:
        if self.peers.apply_decision(*accepted, uptime()):
            self.reconciler.trigger()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.reconciler.run()):
            await self.synced(datetime.fromtimestamp(0, UTC))
            yield
        self.real.stop()

    async def synced(self, since: datetime) -> None:
        """Wait until FRR was seen as desired after a moment."""
        while (last := self.reconciler.last_sync) is None or last <= since or self._lacks():
            await asyncio.sleep(0.005)

    def _lacks(self) -> bool:
        return not {peer.protocol_address for peer in self.peers} <= (self.reconciler.neighbors() or set())

    async def time_of(self, spokes: list[Accepted]) -> float:
        """Return the seconds until these spokes, admitted at once, are configured and read back."""
        began, started = datetime.now(UTC), time.perf_counter()
        for spoke in spokes:
            self.admit(spoke)
        await self.synced(began)
        return time.perf_counter() - started


def _by_file(spokes: list[Accepted]) -> float:
    """Return the seconds that one ``vtysh -f`` of the same configuration takes."""
    real = RealBgpd()
    real.start()
    peers = [accept.peer for _, accept in spokes if accept.peer is not None]
    lines = render(plan(desired(peers, SETTINGS), Observed()).changes, SETTINGS.instance)
    file = real.directory / "all.conf"
    file.write_text("\n".join(line for line in lines if line not in {"configure terminal", "end"}) + "\n")
    started = time.perf_counter()
    subprocess.run([str(real.vtysh), "-d", "bgpd", "-f", str(file)], check=False, capture_output=True)
    took = time.perf_counter() - started
    real.stop()
    return took


async def _measure(writer: str, spokes: list[Accepted], reference: float) -> list[tuple[object, ...]]:
    hub = Hub(writer)
    async with hub.running():
        first = await hub.time_of([_accepted(SPOKES + 1)])
        storm = await hub.time_of(spokes)
        one_more = await hub.time_of([_accepted(SPOKES + 2)])
        read_back = time.perf_counter()
        await hub.reconciler._observe()  # what each pass does at its end
        read_back = time.perf_counter() - read_back
        cpu = time.process_time()
        outcome = await hub.reconciler._reconcile()
        cpu = time.process_time() - cpu
    if outcome != "unchanged":
        raise SystemExit(f"the last pass was {outcome}")
    return [
        (writer, f"{SPOKES} at once, configured and read back", f"{storm:.2f} s",
         f"{storm / reference:.2f} x vtysh -f, asked: 1.5"),
        (writer, f"one more on a hub with {SPOKES}", f"{one_more * 1000:.0f} ms",
         f"{(one_more - read_back) / first:.2f} x an empty hub and a read-back ({read_back * 1000:.0f} ms): 2"),
        (writer, f"resync without a change at {SPOKES}, CPU", f"{cpu * 1000:.0f} ms", "asked: 150 ms"),
    ]  # fmt: skip


def main() -> None:
    """Measure and print one table."""
    if not available():
        print("bgpd: needs root and FRR")
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    spokes = [_accepted(number) for number in range(SPOKES)]
    reference = _by_file(spokes)
    print(f"bgpd, {SPOKES} spokes, {os.cpu_count()} CPUs; vtysh -f of the same configuration: {reference:.2f} s")
    rows = [row for writer in ("vtysh", "vty") for row in asyncio.run(_measure(writer, spokes, reference))]
    print(table(("WRITING BY", "WHAT", "TOOK", "AGAINST"), rows))
