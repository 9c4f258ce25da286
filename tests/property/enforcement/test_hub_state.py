"""Whatever happens to the IKE_SAs with a hub, the agent asks neither too often nor never."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.enforcement.hub_state import FIRST_INTERVAL, HUB_RESTARTED, LONGEST_INTERVAL, PATIENCE, Ask, HubState
from dmvpn_agent.enforcement.patience import Lack
from factories import NBMA, NOW, Clock

LOCAL = NBMA - 1
STEP = 0.5

ike_sas = st.builds(
    lambda number, local, state, initiator, age: IkeSa(
        number, "dmvpn", "ESTABLISHED", local, NBMA, 500, "CN=spoke", "CN=hub", str(number), "0",
        (ChildSa(number, "dmvpn", state, spi_in=str(number)),), initiator=initiator,
        established_at=NOW - timedelta(seconds=age),
    ),
    st.integers(1, 5), st.sampled_from([LOCAL, LOCAL - 1]), st.sampled_from(["INSTALLED", "CREATED"]),
    st.booleans(), st.integers(0, 60),
)  # fmt: skip
#: What charon lists for how many seconds, and whether nhrpd is registered.
phases = st.lists(st.tuples(st.lists(ike_sas, max_size=3), st.booleans(), st.integers(1, 90)), min_size=1, max_size=8)


@given(phases)
def test_requests_and_ends(history: list[tuple[list[IkeSa], bool, int]]) -> None:
    """At most one request in two seconds, at least one in half a minute; a registered node lacks nothing."""
    clock = Clock()
    state = HubState()
    last_ask, missing_since = None, None
    for sas, registered, seconds in history:
        for _ in range(int(seconds / STEP)):
            now = clock.uptime()
            usable = any(sa.local_host == LOCAL and sa.children[0].installed for sa in sas)
            missing_since = None if usable else missing_since or now
            for action in state.step(now, LOCAL, sas, registered=registered):
                if isinstance(action, Ask):
                    assert not usable
                    served = last_ask is not None and missing_since is not None and last_ask < missing_since
                    assert served or last_ask is None or now - last_ask >= FIRST_INTERVAL
                    last_ask = now
                elif isinstance(action, Lack):
                    assert set(action.sas) <= set(sas)
                    assert not registered or action.cause == HUB_RESTARTED
            if missing_since is not None:
                latest = max(missing_since, last_ask or missing_since)
                assert now - latest <= LONGEST_INTERVAL + PATIENCE
            clock.advance(STEP)
