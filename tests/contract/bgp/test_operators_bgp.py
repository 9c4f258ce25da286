"""Operators' configurations on a real bgpd: the agent gets in sync, or reports why it cannot."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from itertools import takewhile
from typing import Any, TypeGuard

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.frr import SPEAKER, RealBgpd, available
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp import reconciler as module
from dmvpn_agent.bgp.bgpd import Bgpd, FrrRefused, Snapshot
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Observed
from dmvpn_agent.bgp.plan import Change, RemoveNeighbor, SetNeighbor, plan, subject
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import FRR, SETTINGS, Clock
from fakes.frr import MemoryStore
from fakes.node import accepted
from fakes.waiting import running, until, until_now

pytestmark = [pytest.mark.contract, pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")]

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


@pytest.fixture(autouse=True)
def _retries_after_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_INTERVAL", 3600.0)


@pytest.fixture(scope="module")
def bgpd() -> Iterator[RealBgpd]:
    bgpd = RealBgpd("!\n")
    bgpd.start()
    yield bgpd
    bgpd.stop()


@pytest.fixture
def fresh(bgpd: RealBgpd) -> RealBgpd:
    wipe(bgpd)
    return bgpd


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


async def test_a_refused_change_waits_and_the_others_do_not(fresh: RealBgpd, logs: list[dict[str, Any]]) -> None:
    """Another peer's change is written at once."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        hub.bgpd.refuses = lambda change: subject(change) == "dmvpn-agent-10.255.0.3-in"
        hub.peers.apply_decision(*accepted(3, "192.168.3.128/25"), Clock().uptime())
        await hub.another_pass()
        assert "% refused" in str(hub.reconciler.trouble)
        writes = len(hub.bgpd.writes)
        hub.peers.apply_decision(*accepted(2, "192.168.2.128/25"), Clock().uptime())
        await hub.another_pass()
    assert len(hub.bgpd.writes) == writes + 1
    assert "192.168.2.128/25" in fresh.type("show running-config")
    assert [entry["event"] for entry in logs].count("change_refused") == 1


#: What an operator types so that bgpd refuses the agent's list: «Prefix/distribute list can not co-exist».
REPLACED = "no neighbor 10.255.0.3 prefix-list dmvpn-agent-10.255.0.3-in in"
FILTERS = ["neighbor spokes distribute-list some in", "neighbor 10.255.0.3 distribute-list some in"]


@pytest.mark.parametrize("theirs", FILTERS, ids=["group", "neighbor"])
async def test_a_neighbor_that_bgpd_refuses_its_filter_is_written_anew(
    fresh: RealBgpd, logs: list[dict[str, Any]], theirs: str
) -> None:
    """The operator's filter permits more than the certificate: 192.168.0.0/16. Another neighbor is left alone."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        writes = len(hub.bgpd.writes)
        fresh.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast", REPLACED, theirs)
        await hub.until_idle()
        assert (hub.reconciler.trouble, hub.neighbors()) == (None, {"10.255.0.2", "10.255.0.3"})
    assert "neighbor 10.255.0.3 prefix-list dmvpn-agent-10.255.0.3-in in" in fresh.type("show running-config")
    removed = [change.address for batch in hub.bgpd.writes[writes:] for change in batch if _removes(change)]
    assert removed == [ip_address("10.255.0.3")]
    assert [entry["event"] for entry in logs].count("filter_refused") == 1


async def test_a_neighbor_that_cannot_have_its_filter_is_removed(fresh: RealBgpd) -> None:
    """The filter of its group alone may permit more."""
    write(fresh, config())
    hub = Hub(fresh, peers=(2, 3))
    async with hub.running():
        await hub.until_idle()
        hub.bgpd.refuses = lambda change: isinstance(change, SetNeighbor)
        fresh.type("configure terminal", "router bgp 65000", "address-family ipv4 unicast", REPLACED)
        await hub.another_pass()
        assert hub.neighbors() == {"10.255.0.2"}
        assert "10.255.0.3" in str(hub.reconciler.trouble)


def _removes(change: Change) -> TypeGuard[RemoveNeighbor]:
    return isinstance(change, RemoveNeighbor)


async def test_a_dynamic_session_is_reported_until_the_listen_range_is_removed() -> None:
    """bgpd refuses a neighbor at its address. After that the agent writes its own."""
    text = config("bgp listen range 10.255.0.0/24 peer-group spokes", group=["remote-as 64514", "passive"])
    real = RealBgpd(text)
    real.start()
    speaker = RealBgpd(SPEAKER, namespace=real.pid, address="10.255.0.2")
    speaker.start()
    try:
        until_now(lambda: '"state":"Established"' in real.type("show bgp ipv4 unicast summary json"))
        hub = Hub(real, peers=(2,))
        async with hub.running():
            await hub.until_idle()
            assert hub.bgpd.writes == []
            assert hub.kinds == {Kind.LISTEN_RANGE, Kind.DYNAMIC_NEIGHBOR}
            assert "10.255.0.2" in str(hub.reconciler.trouble)
            assert "remove `bgp listen range 10.255.0.0/24 peer-group spokes`" in str(hub.reconciler.trouble)
            with pytest.raises(FrrRefused, match="dynamic neighbor"):
                await hub.bgpd.apply(_neighbor_alone(hub))
            real.type("configure terminal", "router bgp 65000", "no bgp listen range 10.255.0.0/24 peer-group spokes")
            await hub.until_idle()
        assert (hub.reconciler.trouble, hub.neighbors()) == (None, {"10.255.0.2"})
    finally:
        speaker.stop()
        real.stop()


def _neighbor_alone(hub: Hub) -> Sequence[Change]:
    changes = plan(desired(hub.peers, SETTINGS), Observed(65000)).changes
    return [change for change in changes if isinstance(change, SetNeighbor)]


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
