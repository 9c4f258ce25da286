"""A fake bgpd and a real one, to test on both what the reconciler relies on."""

from typing import Protocol

import pytest

from contract.frr import RealBgpd, available
from dmvpn_agent.bgp.bgpd import Bgpd
from dmvpn_agent.bgp.neighbors import DENY_ANY, DENY_ANY_IPV6, DENY_ANY_SEQ, Desired
from dmvpn_agent.bgp.plan import plan
from fakes.bgpd_model import BgpdModel
from fakes.frr import FakeBgpd

needs_bgpd = pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")


class Subject(Protocol):
    """A bgpd with the hub's configuration, and what may happen to it."""

    bgpd: Bgpd

    def type(self, *lines: str) -> object: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeBgpd()
        self.bgpd: Bgpd = self.fake

    def type(self, *lines: str) -> None:
        self.fake.model.run(lines)

    def kill(self) -> None:
        self.fake.down = True

    def start(self) -> None:
        self.fake.model, self.fake.down = BgpdModel(), False


class RealSubject:
    def __init__(self, real: RealBgpd, reader: str, writer: str) -> None:
        self.real = real
        self.bgpd: Bgpd = real.adapter(reader, writer)

    def type(self, *lines: str) -> str:
        return self.real.type(*lines)

    def kill(self) -> None:
        self.real.kill()

    def start(self) -> None:
        self.real.start()


async def apply(subject: Subject, goal: Desired) -> None:
    await subject.bgpd.apply(plan(goal, (await subject.bgpd.observe()).config).changes)


async def assert_is(subject: Subject, goal: Desired) -> None:
    observed = (await subject.bgpd.observe()).config
    assert plan(goal, observed).changes == ()
    assert observed.neighbors == goal.neighbors
    last = {DENY_ANY, DENY_ANY_IPV6}
    assert {name: frozenset(entries.values()) - last for name, entries in observed.prefix_lists.items()} == (
        goal.prefix_lists
    )
    assert all(entries[DENY_ANY_SEQ] in last for entries in observed.prefix_lists.values())
