"""Random plans on a real bgpd, cut off anywhere."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.bgpd_subjects import needs_bgpd
from contract.frr import RealBgpd
from dmvpn_agent.bgp.bgpd import Bgpd
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import Change, plan
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.settings import BgpSettings, Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.policy.peer import Peer
from fakes.bgpd_model import BgpdModel
from fakes.frr_states import Edit, choices, edits, lines_for, populations, wanted

STATES = st.tuples(populations, st.lists(edits, max_size=5))


@pytest.mark.contract
@needs_bgpd
@settings(
    max_examples=25,
    phases=[Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(STATES, populations, choices, st.integers(0, 40))
def test_random_plans_cut_off_anywhere_do_on_bgpd_what_they_do_on_the_model(
    real: RealBgpd, state: tuple[list[Peer], list[Edit]], population: list[Peer], by: BgpSettings, cut: int
) -> None:
    """The model behaves as bgpd does, at the cut and after the next plan, which leaves nothing to do.

    What is before the cut is written by vtysh, the rest by the socket.
    """
    before, hand_made = state
    model, goal = BgpdModel(), wanted(population, by)
    beginning = [*lines_for(before), *(line for edit in hand_made for line in edit.typed())]
    model.run(beginning)
    lines = render(plan(goal, parse_running_config(model.running_config())).changes, Instance(65000), grouped=True)[
        :cut
    ]
    model.run(lines)
    printed = real.fresh(*beginning, *lines, "end", "show running-config")
    observed = parse_running_config(printed)
    assert observed == parse_running_config(model.running_config())

    rest = plan(goal, observed).changes
    model.run(render(rest, Instance(65000), grouped=True))
    observed = asyncio.run(_written(real.adapter("vty", "vty"), rest))
    assert observed == parse_running_config(model.running_config())
    assert plan(goal, observed).changes == ()


async def _written(bgpd: Bgpd, changes: Sequence[Change]) -> Observed:
    await bgpd.apply(changes)
    return (await bgpd.observe()).config
