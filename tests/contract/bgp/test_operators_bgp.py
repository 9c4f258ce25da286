"""Operators' configurations on a real bgpd: the agent gets in sync, or reports why it cannot."""

from typing import Any

import pytest

from contract.frr import RealBgpd, available
from contract.operators_bgp import IPV6, LIMITED, Hub, config, write
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.settings import BgpSettings
from factories import SETTINGS

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd"),
    pytest.mark.usefixtures("retries_after_the_test"),
]

#: Lines without consequence for the agent: it is in sync after one pass, and reports nothing.
HARMLESS = {
    "nothing": config(),
    "a hub's group": config(group=["passive", "timers 5 15", "timers connect 5"]),
    "description": config(group=["description all the spokes"]),
    "multihop": config(group=["ebgp-multihop 5"]),
    "ttl security": config(group=["ttl-security hops 2"]),
    "password": config(group=["password secret"]),
    "bfd": config(group=["bfd", "bfd profile fast"]),
    "graceful restart": config("bgp graceful-restart", group=["graceful-restart"]),
    "update source": config(group=["update-source 10.255.0.1"]),
    "capabilities": config(group=["capability extended-nexthop", "capability dynamic"]),
    "solo": config(group=["solo"]),
    "port and MSS": config(group=["port 179", "tcp-mss 1300"]),
    "same number": config(group=["advertisement-interval 5"]),
    "cluster id": config("bgp cluster-id 10.255.0.1"),
    "multipath": config("bgp bestpath as-path multipath-relax", "bgp deterministic-med"),
    "failover": config("no bgp fast-external-failover", "bgp suppress-fib-pending"),
    "reject AS sets": config("bgp reject-as-sets", "bgp always-compare-med"),
    "listen range for others": config(
        "neighbor lan peer-group", "neighbor lan remote-as 64999", "bgp listen range 192.168.0.0/24 peer-group lan",
        "bgp listen limit 5",
    ),
    "an interface of another group": config("neighbor eth7 interface remote-as external"),
    "reflector": config("neighbor internal peer-group", "neighbor internal remote-as internal"),
    "a VRF beside": config(more="router bgp 64999 vrf red\n neighbor spokes peer-group\n neighbor spokes shutdown\n"),
    "prefix-list": config(family=["activate", "prefix-list nothing in", "prefix-list nothing out"]),
    "route-map": config(family=["activate", "route-map everything in", "route-map everything out"]),
    "filter-list": config(family=["activate", "filter-list anything in"]),
    "distribute-list": config(family=["activate", "distribute-list some in"]),
    "next hops": config(family=["activate", "next-hop-self force", "attribute-unchanged next-hop"]),
    "own numbers": config(family=["activate", "allowas-in 2", "as-override", "remove-private-AS all"]),
    "communities": config(family=["activate", "send-community all", "soft-reconfiguration inbound"]),
    "server": config(family=["activate", "route-server-client"]),
    "default": config(family=["activate", "default-originate", "unsuppress-map everything"]),
    "many paths": config(family=["activate", "addpath-tx-all-paths", "disable-addpath-rx"]),
    "ORF": config(family=["activate", "capability orf prefix-list both"]),
    "limits": config(family=["activate", "maximum-prefix 10", "maximum-prefix-out 100", "weight 10"]),
}  # fmt: skip

UNNUMBERED = ("neighbor gre1 interface remote-as external", "neighbor gre1 interface peer-group spokes")
#: Lines that the agent reports, although it is in sync.
REPORTED: dict[str, tuple[str, set[Kind]]] = {
    "group not activated": (config(family=[]), {Kind.NOT_ACTIVATED}),
    "no policy required": (config("no bgp ebgp-requires-policy"), {Kind.NO_POLICY_REQUIRED}),
    "group shut down": (config(group=["shutdown"]), {Kind.SHUTDOWN}),
    "all shut down": (config("bgp shutdown"), {Kind.SHUTDOWN}),
    "new ones shut down": (config("bgp default shutdown"), {Kind.SHUTDOWN}),
    "another number": (config(group=["local-as 64900 no-prepend replace-as"]), {Kind.LOCAL_AS}),
    "no such route-map": (config(family=["activate", "route-map NONE in"]), {Kind.UNDEFINED_FILTER}),
    "no such list": (config(family=["activate", "prefix-list NONE out"]), {Kind.UNDEFINED_FILTER}),
    "connected check": (config(group=[]).replace(" neighbor spokes disable-connected-check\n", ""),
                        {Kind.CONNECTED_CHECK}),
    "unnumbered": (config(*UNNUMBERED), {Kind.INTERFACE_NEIGHBOR}),
    "listen range of another group": (
        config("neighbor lan peer-group", "neighbor lan remote-as external",
               "bgp listen range 10.255.0.0/24 peer-group lan"),
        {Kind.LISTEN_RANGE},
    ),
    "multicast without policy": (
        config("no bgp ebgp-requires-policy",
               more=" address-family ipv4 multicast\n  neighbor spokes activate\n exit-address-family\n"),
        {Kind.NO_POLICY_REQUIRED, Kind.OTHER_FAMILY},
    ),
}  # fmt: skip

#: Lines that keep some or all neighbors from being written; the agent names them.
BLOCKING: dict[str, tuple[str, set[Kind], set[str]]] = {
    "external": (config(group=["remote-as external"]), {Kind.GROUP_AS_NUMBER}, set()),
    "internal": (config(group=["remote-as internal"]), {Kind.GROUP_AS_NUMBER}, set()),
    "another's number": (config(group=["remote-as 64999"]), {Kind.GROUP_AS_NUMBER}, set()),
    "one peer's number": (config(group=["remote-as 64514"]), {Kind.GROUP_AS_NUMBER}, {"10.255.0.2"}),
    "listen range": (
        config("bgp listen range 10.255.0.0/24 peer-group spokes", group=["remote-as external"]),
        {Kind.GROUP_AS_NUMBER, Kind.LISTEN_RANGE},
        set(),
    ),
    "no group": (config().replace("spokes", "branches"), {Kind.NO_PEER_GROUP}, set()),
}


@pytest.mark.parametrize("by", [SETTINGS, IPV6, LIMITED], ids=["ipv4", "ipv6", "limited"])
@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS.keys())
async def test_harmless_lines_leave_frr_in_sync_after_one_pass(fresh: RealBgpd, text: str, by: BgpSettings) -> None:
    """Without any report."""
    write(fresh, text)
    hub = Hub(fresh, by)
    async with hub.running():
        await hub.until_idle()
    assert (hub.reconciler.trouble, hub.reconciler.pending, hub.kinds) == (None, (), set())
    assert hub.neighbors() == {"10.255.0.2", "10.255.0.3"}
    assert len(hub.bgpd.writes) == 1


@pytest.mark.parametrize(("text", "kinds"), REPORTED.values(), ids=REPORTED.keys())
async def test_lines_that_hinder_sessions_are_reported_once(
    fresh: RealBgpd, text: str, kinds: set[Kind], logs: list[dict[str, Any]]
) -> None:
    """The agent writes its neighbors nevertheless."""
    write(fresh, text)
    hub = Hub(fresh)
    async with hub.running():
        await hub.until_idle()
    assert hub.kinds == kinds
    assert hub.reconciler.trouble is None
    assert hub.neighbors() == {"10.255.0.2", "10.255.0.3"}
    assert sorted(entry["kind"] for entry in logs if entry["event"] == "bgp_problem") == sorted(kinds)


@pytest.mark.parametrize(("text", "kinds", "written"), BLOCKING.values(), ids=BLOCKING.keys())
async def test_lines_that_block_neighbors_are_reported_once(
    fresh: RealBgpd, text: str, kinds: set[Kind], written: set[str], logs: list[dict[str, Any]]
) -> None:
    """The agent writes the other neighbors, nothing twice, and is not in sync."""
    write(fresh, text)
    hub = Hub(fresh)
    async with hub.running():
        await hub.until_idle()
    assert hub.kinds == kinds
    assert hub.neighbors() == written
    assert all(str(problem) in str(hub.reconciler.trouble) for problem in hub.reconciler.problems if problem.blocks)
    assert hub.reconciler.last_sync is None
    assert [entry["event"] for entry in logs].count("reconcile_failed") == 1


async def test_a_corrected_group_is_in_sync_again(fresh: RealBgpd) -> None:
    """By the command that the message gives."""
    write(fresh, config(group=["remote-as external"]))
    hub = Hub(fresh)
    async with hub.running():
        assert "no neighbor spokes remote-as external" in str(hub.reconciler.trouble)
        fresh.type("configure terminal", "router bgp 65000", "no neighbor spokes remote-as external")
        await hub.until_idle()
    assert (hub.reconciler.trouble, hub.kinds) == (None, set())
    assert hub.neighbors() == {"10.255.0.2", "10.255.0.3"}


async def test_neighbors_whose_as_number_bgpd_no_longer_checks_are_removed(fresh: RealBgpd) -> None:
    """With ``remote-as external`` in the group, any AS could have a session at their addresses."""
    write(fresh, config())
    hub = Hub(fresh)
    async with hub.running():
        assert hub.neighbors() == {"10.255.0.2", "10.255.0.3"}
        fresh.type("configure terminal", "router bgp 65000", "neighbor spokes remote-as external")
        await hub.until_idle()
    assert hub.neighbors() == set()
    assert hub.kinds == {Kind.GROUP_AS_NUMBER}


async def test_the_datacenter_profile_requires_no_policy() -> None:
    """By default, so its running configuration does not show it."""
    bgpd = RealBgpd("frr defaults datacenter\n" + config())
    bgpd.start()
    try:
        hub = Hub(bgpd)
        async with hub.running():
            await hub.until_idle()
        assert hub.kinds == {Kind.NO_POLICY_REQUIRED}
        bgpd.type("configure terminal", "router bgp 65000", "bgp ebgp-requires-policy")
        assert (await bgpd.adapter().observe()).config.requires_policy
    finally:
        bgpd.stop()


ACTIVE6 = " address-family ipv6 unicast\n  neighbor spokes activate\n exit-address-family\n"


@pytest.mark.parametrize("text", [config(more=ACTIVE6), config("bgp default ipv6-unicast", more=ACTIVE6)])
@pytest.mark.parametrize("by", [SETTINGS, IPV6], ids=["ipv4", "ipv6"])
async def test_a_group_that_is_active_in_ipv6_is_in_sync(fresh: RealBgpd, text: str, by: BgpSettings) -> None:
    """FRR prints no ``activate`` for its members. Without ``bgp.ipv6`` they are not active: they have no filter."""
    write(fresh, text)
    hub = Hub(fresh, by)
    async with hub.running():
        await hub.until_idle()
    assert (hub.reconciler.trouble, len(hub.bgpd.writes)) == (None, 1)
    summary = fresh.type("show bgp ipv6 unicast summary json")
    assert ("10.255.0.2" in summary) is by.ipv6
