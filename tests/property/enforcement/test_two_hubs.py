"""Two hubs that register with each other, and a spoke of both, all with the agent: they come to rest."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dmvpn_agent.enforcement.patience import RETURN_TIME
from fakes.dmvpn_model import STEP, World

#: Steps of half a second that a hub takes for a registration: up to 45 s.
delays = st.lists(st.sampled_from([1, 5, 24, 50, 90]), min_size=2, max_size=2)
faults = st.lists(st.tuples(st.integers(0, 240), st.sampled_from(["charon", "nhrpd"]), st.integers(0, 2)), max_size=4)
#: Steps after the last fault in which everybody is registered again; in twice as many nothing is ended any more.
REST = 800


@given(delays, faults)
@settings(max_examples=40)
def test_they_come_to_rest(hub_delays: list[int], faults: list[tuple[int, str, int]]) -> None:
    """Whoever loses charon or nhrpd, and however slow a hub is: all are registered, and nobody is ended any more."""

    async def run() -> None:
        world = World(hub_delays, spokes=1)
        last = max((when for when, *_ in faults), default=0)
        for step in range(last + 2 * REST):
            for when, what, which in faults:
                if when == step:
                    node = world.nodes[which]
                    world.kill_charon(node) if what == "charon" else node.restart_nhrpd()
            await world.go()
        assert world.complete
        for node in world.nodes:
            by_peer: dict[object, list[int]] = {}
            for step, peer in node.ends:
                by_peer.setdefault(peer, []).append(step)
            for steps in by_peer.values():
                assert max(steps) <= last + REST
                gaps = [(after - before) * STEP for before, after in pairwise(sorted(set(steps)))]
                assert all(gap >= RETURN_TIME.total_seconds() for gap in gaps)

    asyncio.run(run())
