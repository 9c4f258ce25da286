"""The part that keeps IKE_SAs with hubs, over a fake charon."""

from collections.abc import Sequence

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_sas import HubSas, HubsUnknown
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.frr.terminal import Reply
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NBMA, Clock, request
from fakes.sas import FakeKernelSas, FakeSas

LOCAL = NBMA - 1
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


class FakeNhrpd:
    """``written``: the commands of each run but the one that shows the configuration."""

    name = "fake"

    def __init__(self) -> None:
        self.written: list[Sequence[str]] = []

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        assert daemon == "nhrpd"
        if lines != ("show running-config",):
            self.written.append(lines)
        return Reply(0, CONFIGURATION)


class Spoke:
    """``hubs``: what nhrpd answers, ``None`` if it does not."""

    def __init__(self, clock: Clock, telemetry: Telemetry, *, dry_run: bool = False) -> None:
        self.clock = clock
        self.sas = FakeSas()
        self.hubs: Sequence[Hub] | None = [HUB]
        self.local: Address | None = LOCAL
        self.gone: set[Address] = set()
        self.reads = 0
        self.denials = DenialTable()
        self.nhrpd = FakeNhrpd()
        self.addresses: set[Address] = set()
        stale = StaleSas(self.sas, FakeKernelSas(), lambda: {NBMA}, telemetry, clock.both)
        self.watch = HubSas(
            self.sas,
            SaRequests(self.sas, self.sas, stale, telemetry),
            SaTerminator(self.sas, telemetry, clock.uptime, dry_run=dry_run),
            self.denials,
            self,
            HubNames(self.nhrpd, self.nhrpd, telemetry, resolver=self.resolve, dry_run=dry_run),
            clock.uptime,
            dry_run=dry_run,
        )

    async def resolve(self, _: str) -> set[Address]:
        return self.addresses

    async def read(self) -> Sequence[Hub]:
        self.reads += 1
        if self.hubs is None:
            raise HubsUnknown("nhrpd is not running")
        return self.hubs

    def local_address(self, _: str) -> Address | None:
        return self.local

    def is_gone(self, address: Address) -> bool:
        return address in self.gone

    async def go(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            await self.watch.check()


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


async def test_where_nothing_is_missing_nhrpd_is_read_seldom(spoke: Spoke) -> None:
    """Once in half a minute."""
    spoke.sas.arrive(1, "CN=hub")
    spoke.sas.show()
    await spoke.go(1)
    before = spoke.reads
    await spoke.go(300)
    assert spoke.reads - before <= 10


async def test_an_unregistered_one_loses_its_ike_sa_ever_less_often(spoke: Spoke) -> None:
    """The hub's nhrpd may be down for long."""
    spoke.hubs = [Hub("gre1", NBMA, registered=False)]
    spoke.sas.stubborn = True
    spoke.sas.arrive(1, "CN=hub")
    spoke.sas.show()
    await spoke.go(600)
    assert 5 <= len(spoke.sas.ended) <= 9


async def test_an_ike_sa_of_an_address_that_is_gone_is_ended(spoke: Spoke) -> None:
    """Also while the tunnel has no new one yet."""
    spoke.sas.arrive(1, "CN=hub")
    spoke.sas.show()
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
        spoke.hubs, spoke.addresses = [NAMED], {NBMA + 9}
        await spoke.go(15)
        assert spoke.nhrpd.written == [("configure terminal", "interface gre1", f"no {LINE}", LINE)]

    @pytest.mark.parametrize(
        ("hub", "addresses"),
        [(NAMED, {NBMA, NBMA + 1}), (NAMED, set()), (Hub("gre1", NBMA, name=str(NBMA)), {NBMA + 9})],
        ids=["still the same", "not resolved now", "an address"],
    )
    async def test_others_are_left(self, spoke: Spoke, hub: Hub, addresses: set[Address]) -> None:
        """nhrpd would find nothing else."""
        spoke.hubs, spoke.addresses = [hub], addresses
        await spoke.go(120)
        assert spoke.nhrpd.written == []

    async def test_a_hub_that_is_there_is_left(self, spoke: Spoke) -> None:
        """Its former address still serves."""
        spoke.hubs, spoke.addresses = [NAMED], {NBMA + 9}
        spoke.sas.arrive(1, "CN=hub")
        spoke.sas.show()
        await spoke.go(120)
        assert spoke.nhrpd.written == []

    @pytest.mark.parametrize("name", ["hub.example.net\nno router bgp", "a b", "-x", "hub_1;reboot", ""])
    async def test_what_is_no_name_reaches_no_command(self, spoke: Spoke, name: str) -> None:
        """nhrpd takes any text for a name."""
        spoke.hubs, spoke.addresses = [Hub("gre1", NBMA, name=name)], {NBMA + 9}
        await spoke.go(60)
        assert spoke.nhrpd.written == []
