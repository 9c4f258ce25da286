"""Two hubs and a spoke of both, all with agent and bridge, whatever is killed: they come to rest."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from dmvpn_agent.enforcement.patience import RETURN_TIME
from fakes.dmvpn_model import STEP, World

#: Steps of half a second that a hub takes for a registration: up to 45 s.
delays = st.lists(st.sampled_from([1, 5, 24, 50, 90]), min_size=2, max_size=2)
nodes = st.integers(0, 2)
#: Steps after the last fault in which everybody is bound again; in twice as many nothing is ended any more.
REST = 800


class TwoHubs(RuleBasedStateMachine):
    """The second hub registers with the first one."""

    #: What the operator's configuration says; with ``restless`` nhrpd itself ends IKE_SAs for ever.
    mutual = one_name = restless = False

    @initialize(hub_delays=delays)
    def begin(self, hub_delays: list[int]) -> None:
        self.world = World(hub_delays, spokes=1, mutual=self.mutual, one_name=self.one_name)

    @rule(steps=st.integers(1, 120))
    def go(self, steps: int) -> None:
        asyncio.run(self._go(steps))

    @rule(which=nodes)
    def kill_charon(self, which: int) -> None:
        self.world.kill_charon(self.world.nodes[which])

    @rule(which=nodes)
    def restart_nhrpd(self, which: int) -> None:
        self.world.nodes[which].restart_nhrpd()

    async def _go(self, steps: int) -> None:
        for _ in range(steps):
            await self.world.go()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        asyncio.run(self._go(REST))
        before = [len(node.ends) for node in self.world.nodes]
        asyncio.run(self._go(REST))
        for node in self.world.nodes:
            for peer in {peer for _, peer in node.ends}:
                steps = sorted({step for step, one in node.ends if one == peer})
                assert all((after - one) * STEP >= RETURN_TIME.total_seconds() for one, after in pairwise(steps))
        if not self.restless:
            assert self.world.complete
            assert before == [len(node.ends) for node in self.world.nodes]


class OneName(TwoHubs):
    """Both register with all addresses of one name."""

    mutual = one_name = True


class Mutual(TwoHubs):
    """Each registers with the other one's address."""

    mutual = restless = True


@pytest.mark.parametrize("machine", [TwoHubs, OneName, Mutual])
def test_they_come_to_rest(machine: type[TwoHubs]) -> None:
    """All are bound by one IKE_SA each, nobody is ended any more, and nobody twice within ``RETURN_TIME``."""
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=8, deadline=None))
