"""The metrics of charon's events and lists."""

import pytest

from contract.watched import watched
from dmvpn_agent.charon import metrics
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import der
from fakes.charon import FakeCharon, FakeSa
from fakes.waiting import until

pytestmark = pytest.mark.contract


async def test_traffic_is_added_up_across_rekeying_and_charons_restart(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """Events carry the last counts, also of CHILD_SAs that came and went between two lists."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}, traffic={2: (10, 1, 20, 2)}))
        await until(lambda: telemetry.value(metrics.IPSEC_BYTES, "in") == 10)
        charon.sas[1].traffic = {2: (15, 2, 20, 2), 3: (1, 1, 0, 0)}
        charon.rekey_child(1, 2, 3)
        await until(lambda: telemetry.value(metrics.IPSEC_BYTES, "in") == 16)
        assert telemetry.value(metrics.IPSEC_PACKETS, "out") == 2
        assert telemetry.value(metrics.IPSEC_EVENTS, "child_rekeyed") == 1
        await charon.stop()
        await until(lambda: not watch.connected)
        charon.sas = {1: FakeSa(1, "203.0.113.2", "CN=spoke1", children={9: "INSTALLED"}, traffic={9: (4, 1, 0, 0)})}
        await charon.start()
        await until(lambda: telemetry.value(metrics.IPSEC_BYTES, "in") == 20)
        assert watch.totals.traffic() == {("dmvpn", "CN=spoke1"): (20, 4, 20, 2)}


async def test_traffic_before_the_start_is_not_counted(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The agent before this one counted it."""
    charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}, traffic={2: (10, 1, 20, 2)}))
    async with watched(charon.path, telemetry):
        assert telemetry.samples(metrics.IPSEC_BYTES) == {("in",): 0, ("out",): 0}


async def test_algorithms_are_exported(charon: FakeCharon, telemetry: Telemetry) -> None:
    """SAs are counted by algorithm and strength."""
    charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}))
    async with watched(charon.path, telemetry):
        assert telemetry.value(metrics.SA_ALGORITHMS, "child", "AES_GCM_16-256", "sound") == 1
        assert telemetry.value(metrics.SA_ALGORITHMS, "ike", "ECP_384", "sound") == 1
        assert telemetry.samples(metrics.IKE_SAS_NAT) == {("local",): 0, ("remote",): 0}


async def test_alerts_are_counted_by_kind(charon: FakeCharon, telemetry: Telemetry) -> None:
    """An unknown kind counts as ``other``."""
    async with watched(charon.path, telemetry):
        sa = {"dmvpn": FakeSa(1, "203.0.113.2", "CN=spoke1").section()}
        charon.raise_event("alert", {"type": "peer-auth-failed", "ike-sa": sa})
        charon.raise_event("alert", {"type": "peer-auth-failed"})
        charon.raise_event("alert", {"type": "new-in-a-later-release"})
        await until(lambda: telemetry.value(metrics.CHARON_ALERTS, "other"))
        assert telemetry.value(metrics.CHARON_ALERTS, "peer-auth-failed") == 2


async def test_an_event_that_cannot_be_read_is_counted_and_the_sas_are_listed(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """The refresh after it shows the SAs."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"), silent=True)
        charon.raise_event("child-updown", {"dmvpn": FakeSa(1, "203.0.113.2", "").section(uniqueid="x")})
        await until(lambda: len(watch.ike_sas) == 1)
        assert telemetry.value(runtime_metrics.UNREADABLE, "charon_event") == 1


async def test_this_nodes_own_certificates_are_read(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Those that charon has the private keys of, and no peer's."""
    charon.certificates, charon.own = [der(name="spoke1")], [der(name="hub")]
    async with watched(charon.path, telemetry) as watch:
        assert [str(one.label) for one in watch.own_certificates.known] == ["hub"]
