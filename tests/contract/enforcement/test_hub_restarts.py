"""A spoke's agent and bridge on a real charon, while the charon of its hub is killed, or authenticates anew."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

import pytest

from contract.bridged_pair import Node, bridged
from contract.charon_pair import Side, two_charons
from contract.charons import connection, needs_charon
from contract.watched import watched
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.enforcement import hub_state
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.hub_state import ANSWER_TIME, Hub
from dmvpn_agent.enforcement.registrations import Registrations
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import Clock
from fakes.hubs import FakeConfiguration, FakeHubs
from fakes.sas import FakeKernelSas, FakeSas
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs_charon(sas=True)]

STEP = timedelta(seconds=0.5)
#: Long enough for the agent to come to a conclusion.
SETTLED = ANSWER_TIME + timedelta(seconds=1)


class Spoke:
    """A spoke: ``node`` is its bridge with nhrpd, ``registrations`` its agent's part, which checks on demand."""

    def __init__(self, side: Side, hub: Side, node: Node, watch: CharonWatch, telemetry: Telemetry) -> None:
        self.side, self.hub, self.node, self.watch = side, hub, node, watch
        self.clock = Clock()
        hubs = FakeHubs(Hub("gre1", ip_address(hub.host)))
        hubs.local = ip_address(side.host)
        stale = StaleSas(watch, FakeKernelSas(), set, telemetry, self.clock.both)
        names = FakeConfiguration().names(telemetry)
        requests = SaRequests(watch, FakeSas(), stale, telemetry)
        rules = HubSas(watch, requests, DenialTable(), hubs, names, self.clock.uptime)
        terminator = SaTerminator(watch, telemetry, self.clock.uptime)
        self.registrations = Registrations(watch, rules, None, terminator, self.clock.uptime)

    async def sees(self, count: int) -> None:
        """Wait until the agent knows so many IKE_SAs with the hub, and nhrpd as many circuits."""
        await until(lambda: len(self.circuits()) == count)
        await until(lambda: len(self.node.circuits()) == count)

    def circuits(self) -> dict[str, str]:
        """Return the SPIs of each IKE_SA, with those of its CHILD_SA."""
        return {sa.spis: child.spis for sa in self.watch.our_sas() for child in sa.children if child.installed}

    async def passes(self, time: timedelta) -> None:
        """Let time go by for the agent."""
        for _ in range(time // STEP):
            await self.registrations.check()
            self.clock.advance(STEP.total_seconds())
        await self.registrations.check()

    async def hub_begins_another(self) -> None:
        """Have the hub begin an IKE_SA beside the first, by a connection that charon does not take for the same."""
        own = {"certs": [DER_cert_to_PEM_cert(self.hub.certificate)]}
        inner = f"{self.hub.inner}/32", f"{self.side.inner}/32"
        made = connection(own, self.hub.host, self.side.host, *inner) | {"rekey_time": "2h"}
        made["children"] = {"again": made["children"]["dmvpn"]}
        await self.hub.ask("load-conn", {"again": made})
        await self.hub.ask("initiate", {"ike": "again", "child": "again", "timeout": "10000"})

    async def hub_restarts(self) -> None:
        """Have the hub's charon killed; a new one begins an IKE_SA."""
        self.hub.kill()
        await self.hub.start()
        await self.hub.load(self.side)
        await self.hub.ask("initiate", {"child": "dmvpn", "timeout": "10000"})


@pytest.fixture
async def spoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spoke]:
    """A spoke whose first IKE_SA with the hub is older than two that are started together."""
    monkeypatch.setattr(hub_state, "STARTED_TOGETHER", timedelta(seconds=1))
    async with two_charons(tmp_path) as (hub, side):
        telemetry = Telemetry()
        async with bridged(side) as node, watched(side.path, telemetry) as watch:
            await side.ask("initiate", {"child": "dmvpn", "timeout": "10000"})
            spoke = Spoke(side, hub, node, watch, telemetry)
            await spoke.sees(1)
            # charon gives times in whole seconds.
            (first,) = watch.our_sas()
            await until(lambda: first.established_at and utc_now() - first.established_at > timedelta(seconds=3))
            yield spoke


async def test_a_killed_charon_of_the_hub_is_noticed(spoke: Spoke, logs: list[dict[str, Any]]) -> None:
    """nhrpd sees no circuit for a moment, asks for a new one, and registers; without that it would in 40 minutes."""
    await spoke.hub_restarts()
    await spoke.sees(2)
    await spoke.passes(SETTLED)
    await spoke.sees(0)
    assert [one["cause"] for one in logs if one["event"] == "ike_sa_ended"] == ["hub_restarted"] * 2


async def test_also_if_the_hub_has_ended_the_new_ike_sa_meanwhile(spoke: Spoke) -> None:
    """Its agent ends one that has no binding. The first one leads nowhere, and nhrpd takes it for a circuit."""
    await spoke.hub_restarts()
    await spoke.sees(2)
    await spoke.registrations.check()
    await spoke.hub.ask("terminate", {"ike": "dmvpn", "force": "yes", "timeout": "-1"})
    await spoke.sees(1)
    await spoke.passes(SETTLED)
    await spoke.sees(0)


async def test_a_reauthentication_is_not_taken_for_it(spoke: Spoke, logs: list[dict[str, Any]]) -> None:
    """The hub begins the second IKE_SA and deletes the first one, which the agent may rekey at that moment."""
    for _ in range(3):
        before = spoke.circuits()
        await spoke.hub.ask("rekey", {"ike": "dmvpn", "reauth": "yes"})
        while len(spoke.circuits()) != 1 or spoke.circuits().keys() & before.keys():
            await spoke.registrations.check()
            await asyncio.sleep(0)
    await spoke.passes(SETTLED)
    assert (spoke.node.lost(), len(spoke.circuits())) == (0, 1)
    assert not [one for one in logs if one["event"] == "ike_sa_ended"]


async def test_an_old_ike_sa_that_the_hub_keeps_costs_no_packet(spoke: Spoke, logs: list[dict[str, Any]]) -> None:
    """As one does that authenticates anew and takes its time: it answers on the first one, and both stay."""
    first = spoke.circuits()
    await spoke.hub_begins_another()
    await spoke.sees(2)
    ping = ("ping", "-q", "-i", "0.01", "-c", "300", "-W", "5", spoke.side.inner)
    pinged = asyncio.create_task(asyncio.to_thread(spoke.hub.space.result, ping))
    await spoke.registrations.check()
    assert [one["event"] for one in logs if one["event"] == "hub_probed"]
    await until(lambda: first.items() - spoke.circuits().items())
    await spoke.passes(10 * SETTLED)
    assert " 0% packet loss" in (await pinged)[1]
    assert (spoke.node.lost(), len(spoke.circuits())) == (0, 2)
    assert not [one for one in logs if one["event"] == "ike_sa_ended"]
