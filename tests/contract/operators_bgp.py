"""A hub's reconciler over a real bgpd that an operator configured."""

import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import takewhile

from contract.frr import RealBgpd
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.bgpd import Bgpd, FrrRefused, Snapshot
from dmvpn_agent.bgp.plan import Change
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import FRR, SETTINGS, Clock
from fakes.frr import MemoryStore
from fakes.node import accepted
from fakes.waiting import running, until

IPV6 = replace(SETTINGS, ipv6=True)
LIMITED = replace(SETTINGS, maximum_prefix=MaximumPrefix(10))


def config(*bgp: str, group: Sequence[str] = (), family: Sequence[str] = ("activate",), more: str = "") -> str:
    """Return a hub's configuration: lines of the instance, of the group ``spokes``, and of it in IPv4."""
    return "\n".join([
        "ip prefix-list nothing seq 5 deny any",
        "route-map everything permit 10",
        "bgp as-path access-list anything seq 5 permit .*",
        "access-list some seq 5 permit 192.168.0.0/16",
        "router bgp 65000",
        " bgp router-id 10.255.0.1",
        " no bgp default ipv4-unicast",
        " neighbor spokes peer-group",
        " neighbor spokes disable-connected-check",
        *(f" neighbor spokes {line}" for line in group),
        *(f" {line}" for line in bgp),
        " address-family ipv4 unicast",
        *(f"  neighbor spokes {line}" for line in family),
        " exit-address-family",
        more,
    ])  # fmt: skip


class CountingBgpd:
    """Counts the writes to a bgpd; it refuses changes for which ``refuses`` is true, and all changes after them."""

    def __init__(self, bgpd: Bgpd) -> None:
        self._bgpd = bgpd
        self.writes: list[Sequence[Change]] = []
        self.observations = 0
        self.refuses: Callable[[Change], bool] = lambda _: False

    async def observe(self) -> Snapshot:
        self.observations += 1
        return await self._bgpd.observe()

    async def apply(self, changes: Sequence[Change]) -> None:
        self.writes.append(changes)
        taken = list(takewhile(lambda change: not self.refuses(change), changes))
        await self._bgpd.apply(taken)
        if len(taken) < len(changes):
            raise FrrRefused("% refused")


class Hub:
    """A hub's reconciler over a real bgpd; each accepted peer has its own AS number."""

    def __init__(self, bgpd: RealBgpd, by: BgpSettings = SETTINGS, peers: Sequence[int] = (2, 3)) -> None:
        self.real = bgpd
        self.bgpd = CountingBgpd(bgpd.adapter())
        self.telemetry = Telemetry()
        clock = Clock()
        self.peers = Peers(MemoryStore())
        for number in peers:
            request, decision = accepted(number)
            self.peers.apply_decision(request, decision, clock.uptime())
        self.reconciler = Reconciler(FRR, by, self.peers, self.bgpd, self.telemetry, clock.both)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.reconciler.run()):
            await until(self._passes)
            yield

    def _passes(self) -> float:
        outcomes = ("applied", "unchanged", "failed")
        return sum(self.telemetry.value(metrics.RECONCILES, outcome) for outcome in outcomes)

    async def another_pass(self) -> None:
        passes = self._passes()
        self.reconciler.trigger()
        await until(lambda: self._passes() > passes)

    async def until_idle(self) -> None:
        """Make three more passes, of which the last two write nothing: refused changes wait for their retry."""
        await self.another_pass()
        writes = len(self.bgpd.writes)
        await self.another_pass()
        await self.another_pass()
        assert self.bgpd.writes[writes:] == []

    @property
    def kinds(self) -> set[Kind]:
        return {problem.kind for problem in self.reconciler.problems}

    def neighbors(self) -> set[str]:
        lines = self.real.type("show running-config").splitlines()
        return {line.split()[1] for line in lines if line.startswith(" neighbor 10.") and "peer-group spokes" in line}


def wipe(bgpd: RealBgpd) -> None:
    """Remove every BGP instance, the default one last, and every prefix-list."""
    lines = bgpd.type("show running-config").splitlines()
    instances = [line for line in lines if line.startswith("router bgp ")]
    lists = {" ".join(line.split()[:3]) for line in lines if line.startswith(("ip prefix-list", "ipv6 prefix-list"))}
    bgpd.type("configure terminal", *(f"no {line}" for line in (*reversed(instances), *sorted(lists))))


def write(bgpd: RealBgpd, text: str) -> None:
    """Write a configuration as an operator does, line by line, even if some are refused."""
    path = bgpd.directory / "operator.conf"
    path.write_text(text)
    subprocess.run([str(bgpd.vtysh), "-d", "bgpd", "-f", str(path)], capture_output=True, check=False)
