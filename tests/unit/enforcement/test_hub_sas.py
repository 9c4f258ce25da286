"""The part that keeps IKE_SAs with hubs, over a fake charon."""

from datetime import timedelta
from typing import Any

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.hub_sas import START_UP, HubSas
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.enforcement.registrations import Registrations
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA, NOW, Clock, request
from fakes.hubs import LOCAL, FakeConfiguration, FakeHubs
from fakes.sas import FakeKernelSas, FakeSas

HUB = Hub("gre1", NBMA)


NAMED = Hub("gre1", NBMA, name="hub.example.net")
LINE = "ip nhrp nhs 10.255.0.1 nbma hub.example.net"
CONFIGURATION = f"""\
interface gre2
 {LINE}
exit
interface gre1
 ip nhrp network-id 1
 {LINE}
 ip nhrp nhs dynamic nbma other.example.net
exit
"""


class Spoke(FakeHubs):
    """A spoke's registrations over a fake charon; ``nhrpd`` has the configuration."""

    def __init__(self, clock: Clock, telemetry: Telemetry, *, dry_run: bool = False) -> None:
        super().__init__(HUB)
        self.clock = clock
        self.sas = FakeSas()
        self.denials = DenialTable()
        self.nhrpd = FakeConfiguration(CONFIGURATION)
        stale = StaleSas(self.sas, FakeKernelSas(), lambda: {NBMA}, telemetry, clock.both)
        requests = SaRequests(self.sas, self.sas, stale, telemetry)
        names = self.nhrpd.names(telemetry, dry_run=dry_run)
        self.rules = HubSas(self.sas, requests, self.denials, self, names, clock.uptime, dry_run=dry_run)
        terminator = SaTerminator(self.sas, telemetry, clock.uptime, dry_run=dry_run)
        self.watch = Registrations(self.sas, self.rules, None, terminator, clock.uptime)

    def arrive(self, number: int = 1, **fields: Any) -> IkeSa:
        """Have charon list an IKE_SA with the hub."""
        sa = self.sas.arrive(number, "CN=hub", **fields)
        self.sas.show()
        return sa

    async def go(self, seconds: float) -> int:
        """Let time go by; return how often nhrpd was read."""
        before = self.reads
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            await self.watch.check()
        return self.reads - before


@pytest.fixture
async def spoke(clock: Clock, telemetry: Telemetry) -> Spoke:
    spoke = Spoke(clock, telemetry)
    await spoke.watch.check()
    return spoke


async def test_a_hub_without_an_ike_sa_is_asked_for(spoke: Spoke) -> None:
    """From the tunnel's own address."""
    await spoke.go(2)
    assert spoke.sas.initiated == [(LOCAL, NBMA)]


async def test_a_denied_hub_is_not(spoke: Spoke) -> None:
    """The agent would end its IKE_SA."""
    spoke.denials.add(request(), Deny(Reason.CERTIFICATE_REVOKED, "serial", "1", "another"))
    await spoke.go(60)
    assert spoke.sas.initiated == []


async def test_a_tunnel_without_an_address_asks_for_nothing(spoke: Spoke) -> None:
    """As soon as it has one, it does."""
    spoke.local = None
    await spoke.go(60)
    assert spoke.sas.initiated == []
    spoke.local = LOCAL + 9
    await spoke.go(2)
    assert spoke.sas.initiated == [(LOCAL + 9, NBMA)]


async def test_a_charon_that_has_no_connection_yet_is_asked_as_soon_as_it_has(spoke: Spoke) -> None:
    """Without a back-off."""
    spoke.sas.loaded = False
    await spoke.go(60)
    assert spoke.sas.initiated == []
    spoke.sas.loaded = True
    await spoke.go(0.5)
    assert spoke.sas.initiated == [(LOCAL, NBMA)]


async def test_a_hub_that_the_operator_removed_is_forgotten(spoke: Spoke) -> None:
    """While something is missing, nhrpd is read every two seconds."""
    spoke.hubs = []
    await spoke.go(60)
    assert len(spoke.sas.initiated) <= 1


async def test_an_nhrpd_that_cannot_be_read_changes_nothing(spoke: Spoke) -> None:
    """It may be starting."""
    spoke.hubs = None
    await spoke.go(4)
    assert spoke.sas.initiated


async def test_a_hub_that_nhrpd_did_not_name_at_first_is_known_soon(spoke: Spoke) -> None:
    """It had not read its configuration yet. A hub that is restarted meanwhile would not be noticed."""
    spoke.hubs = []
    await spoke.go(30)
    spoke.sas.initiated.clear()
    spoke.hubs = [HUB]
    await spoke.go(4)
    assert spoke.sas.initiated == [(LOCAL, NBMA)]


@pytest.mark.parametrize("stays", [True, False], ids=["beside the new one", "after the new one is gone"])
async def test_an_ike_sa_that_the_hub_lost_is_ended(spoke: Spoke, *, stays: bool) -> None:
    """Its charon was killed, and it began another one; its agent may have ended that meanwhile."""
    spoke.arrive(1, established_at=NOW - timedelta(hours=1))
    await spoke.go(60)
    spoke.arrive(2, established_at=NOW)
    await spoke.go(0.5)
    if not stays:
        spoke.sas.leave(2)
        spoke.sas.show()
    await spoke.go(2)
    assert spoke.sas.ended == ([1, 2] if stays else [1])


async def test_an_ike_sa_on_which_the_hub_answers_stays(spoke: Spoke) -> None:
    """A hub may keep it for a while beside one that it began to authenticate anew."""
    spoke.arrive(1, established_at=NOW - timedelta(hours=1))
    spoke.arrive(2, established_at=NOW)
    spoke.sas.answers = True
    await spoke.go(3600)
    assert (spoke.sas.rekeyed, spoke.sas.ended) == ([1], [])


async def test_where_nothing_is_missing_nhrpd_is_read_seldom(spoke: Spoke) -> None:
    """Once in half a minute."""
    spoke.arrive()
    await spoke.go(1)
    assert await spoke.go(300) <= 10


@pytest.mark.parametrize("answers", [True, False], ids=["none", "no answer"])
async def test_a_node_that_registers_with_nobody_reads_nhrpd_seldom(
    clock: Clock, telemetry: Telemetry, *, answers: bool
) -> None:
    """As most hubs. nhrpd may have read its configuration later than the agent started."""
    spoke = Spoke(clock, telemetry)
    spoke.hubs = [] if answers else None
    await spoke.go(START_UP.total_seconds() + 30)
    assert await spoke.go(300) <= 10


async def test_after_a_restart_of_nhrpd_its_hubs_are_known_soon(spoke: Spoke) -> None:
    """It connects to the agent before it has read its whole configuration."""
    spoke.hubs = []
    await spoke.go(300)
    spoke.rules.expect()
    await spoke.go(20)
    spoke.sas.initiated.clear()
    spoke.hubs = [HUB]
    await spoke.go(4)
    assert set(spoke.sas.initiated) == {(LOCAL, NBMA)}


async def test_one_whose_registration_cannot_be_read_keeps_it(spoke: Spoke) -> None:
    """It was not registered when it was read last, and may be by now."""
    spoke.hubs = [Hub("gre1", NBMA, registered=False)]
    spoke.arrive()
    await spoke.go(10)
    spoke.hubs = None
    await spoke.go(600)
    assert spoke.sas.ended == []


async def test_an_unregistered_one_loses_its_ike_sa_ever_less_often(spoke: Spoke) -> None:
    """The hub's nhrpd may be down for long."""
    spoke.hubs = [Hub("gre1", NBMA, registered=False)]
    spoke.sas.stubborn = True
    spoke.arrive()
    await spoke.go(600)
    assert 5 <= len(spoke.sas.ended) <= 9


async def test_an_ike_sa_of_an_address_that_is_gone_is_ended(spoke: Spoke) -> None:
    """Also while the tunnel has no new one yet."""
    spoke.arrive()
    await spoke.go(5)
    assert spoke.sas.ended == []
    spoke.gone, spoke.local = {LOCAL}, None
    await spoke.go(0.5)
    assert (spoke.sas.ended, spoke.sas.initiated) == ([1], [])
    spoke.local = LOCAL + 9
    await spoke.go(2)
    assert spoke.sas.initiated == [(LOCAL + 9, NBMA)]


async def test_a_dry_run_asks_for_nothing(clock: Clock, telemetry: Telemetry) -> None:
    """It logs what it would."""
    spoke = Spoke(clock, telemetry, dry_run=True)
    await spoke.go(60)
    assert spoke.sas.initiated == []


class TestNames:
    """Hubs with a DNS name."""

    async def test_nhrpd_resolves_a_name_that_has_moved(self, spoke: Spoke) -> None:
        """Its line is removed and added again in one run; other hubs' and other interfaces' lines stay."""
        spoke.hubs, spoke.nhrpd.addresses = [NAMED], {NBMA + 9}
        await spoke.go(15)
        assert spoke.nhrpd.written == [("configure terminal", "interface gre1", f"no {LINE}", LINE)]

    async def test_the_new_address_is_asked_for_soon(self, spoke: Spoke) -> None:
        """Until nhrpd has resolved the name, it names no hub."""
        spoke.hubs, spoke.nhrpd.addresses = [NAMED], {NBMA + 9}
        await spoke.go(300)
        spoke.sas.initiated.clear()
        spoke.hubs = []
        await spoke.go(6)
        spoke.hubs = [Hub("gre1", NBMA + 9, name=NAMED.name)]
        await spoke.go(4)
        assert set(spoke.sas.initiated) == {(LOCAL, NBMA + 9)}

    @pytest.mark.parametrize(
        ("hub", "addresses"),
        [(NAMED, {NBMA, NBMA + 1}), (NAMED, set()), (Hub("gre1", NBMA, name=str(NBMA)), {NBMA + 9})],
        ids=["still the same", "not resolved now", "an address"],
    )
    async def test_others_are_left(self, spoke: Spoke, hub: Hub, addresses: set[Address]) -> None:
        """nhrpd would find nothing else."""
        spoke.hubs, spoke.nhrpd.addresses = [hub], addresses
        await spoke.go(120)
        assert spoke.nhrpd.written == []

    async def test_a_hub_that_is_there_is_left(self, spoke: Spoke) -> None:
        """Its former address still serves."""
        spoke.hubs, spoke.nhrpd.addresses = [NAMED], {NBMA + 9}
        spoke.arrive()
        await spoke.go(120)
        assert spoke.nhrpd.written == []

    @pytest.mark.parametrize("name", ["hub.example.net\nno router bgp", "a b", "-x", "hub_1;reboot", ""])
    async def test_what_is_no_name_reaches_no_command(self, spoke: Spoke, name: str) -> None:
        """nhrpd takes any text for a name."""
        spoke.hubs, spoke.nhrpd.addresses = [Hub("gre1", NBMA, name=name)], {NBMA + 9}
        await spoke.go(60)
        assert spoke.nhrpd.written == []
