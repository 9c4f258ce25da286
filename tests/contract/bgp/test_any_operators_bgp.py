"""Random configurations of operators on a real bgpd: the agent stops writing."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.frr import RealBgpd, available
from contract.operators_bgp import IPV6, LIMITED, Hub, config, wipe, write
from dmvpn_agent.bgp.settings import BgpSettings
from factories import SETTINGS

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd"),
    pytest.mark.usefixtures("retries_after_the_test"),
]

#: Lines for random configurations; FRR refuses some of them beside others.
INSTANCE = [
    "bgp default ipv4-unicast", "bgp default ipv6-unicast", "no bgp ebgp-requires-policy", "bgp default shutdown",
    "bgp shutdown", "bgp cluster-id 1.2.3.4", "bgp confederation identifier 65111", "bgp confederation peers 64514",
    "bgp listen range 10.255.0.0/24 peer-group spokes", "neighbor gre1 interface peer-group spokes",
    "neighbor 10.255.0.3 remote-as 64515", "neighbor 10.255.0.3 shutdown", "neighbor 10.255.0.2 peer-group spokes",
    "neighbor others peer-group", "bgp disable-ebgp-connected-route-check",
]  # fmt: skip
GROUP = [
    "remote-as external", "remote-as internal", "remote-as 64514", "remote-as 65000", "local-as 64900", "passive",
    "shutdown", "description x", "ttl-security hops 1", "ebgp-multihop 3", "password p", "solo",
    "sender-as-path-loop-detection", "dont-capability-negotiate", "override-capability", "strict-capability-match",
]  # fmt: skip
FAMILY = [
    "activate", "prefix-list nothing in", "route-map everything in", "route-map NONE out", "distribute-list some in",
    "filter-list anything in", "maximum-prefix 10", "maximum-prefix 20 80 restart 5", "weight 7", "allowas-in",
    "as-override", "route-reflector-client", "route-server-client", "soft-reconfiguration inbound",
]  # fmt: skip


def some(lines: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(lines), max_size=4, unique=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    instance=some(INSTANCE), group=some(GROUP), family=some(FAMILY), ipv6=some(FAMILY),
    by=st.sampled_from([SETTINGS, IPV6, LIMITED]), later=some(GROUP),
)  # fmt: skip
def test_with_any_configuration_the_agent_stops_writing(
    bgpd: RealBgpd,
    instance: list[str],
    group: list[str],
    family: list[str],
    ipv6: list[str],
    by: BgpSettings,
    later: list[str],
) -> None:
    """After two passes there is nothing to write, or the rest is reported and waits for its retry."""
    wipe(bgpd)
    lines = [" address-family ipv6 unicast", *(f"  neighbor spokes {line}" for line in ipv6), " exit-address-family"]
    write(bgpd, config(*instance, group=group, family=family, more="\n".join(lines)))
    asyncio.run(_rests(bgpd, by, later))


async def _rests(bgpd: RealBgpd, by: BgpSettings, later: list[str]) -> None:
    hub = Hub(bgpd, by)
    async with hub.running():
        await hub.until_idle()
        _named(hub)
        write(bgpd, "\n".join(["router bgp 65000", *(f" neighbor spokes {line}" for line in later)]))
        await hub.another_pass()
        await hub.until_idle()
        _named(hub)


def _named(hub: Hub) -> None:
    blocked = [problem for problem in hub.reconciler.problems if problem.blocks]
    if hub.reconciler.pending or blocked:
        assert hub.reconciler.trouble is not None
    else:
        assert hub.reconciler.trouble is None
