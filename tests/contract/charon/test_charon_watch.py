"""What the agent knows of charon's SAs, over a socket."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contract.charons import needs_charon, real_charon
from contract.watched import watched
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.charon.session import CharonLost
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import crl_pem, der
from fakes.charon import FakeCharon, FakeSa, rounds
from fakes.waiting import running, until

pytestmark = pytest.mark.contract


async def test_the_watch_knows_the_peer_at_an_nbma_address(charon: FakeCharon, telemetry: Telemetry) -> None:
    """It knows how the peer authenticated, and leaves out other connections."""
    charon.connections = {"dmvpn": rounds("psk"), "office": rounds("psk")}
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "spoke1.example.net"))
        charon.up(FakeSa(2, "203.0.113.2", "laptop.example.net", name="office"))
        address = ip_address("203.0.113.2")
        await until(lambda: len(watch.ike_sas) == 2)
        assert watch.peers_at("gre1", address) == frozenset({IkePeer("spoke1.example.net", has_certificate=False)})
        assert [sa.unique_id for sa in watch.sas_at(address)] == [1]
        assert [sa.unique_id for sa in watch.our_sas()] == [1]


async def test_requests_during_a_refresh_share_the_next_one(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Each request gets a list that charon made after it."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"), silent=True)
        before = len(charon.requests)
        await asyncio.gather(*(watch.refresh() for _ in range(100)))
        assert [name for name, _ in charon.requests[before:]].count("list-sas") <= 2
        assert [sa.unique_id for sa in watch.our_sas()] == [1]


class _SlowBridge:
    """A bridge that does not answer the first request."""

    def __init__(self) -> None:
        self.asked, self.readable = asyncio.Event(), asyncio.Event()

    async def load(self, _: Collection[str]) -> Mapping[str, bytes]:
        if not self.asked.is_set():
            self.asked.set()
            await self.readable.wait()
        return {}


async def test_a_slow_refresh_does_not_undo_a_later_one(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Refreshes run one after the other: an older list never replaces a newer one."""
    news: list[int] = []
    bridge = _SlowBridge()
    async with watched(charon.path, telemetry, bridge, changed=lambda: news.append(1)) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(bridge.asked.is_set)
        charon.sas.clear()
        charon.up(FakeSa(2, "203.0.113.2", "CN=spoke2"), silent=True)
        second = asyncio.create_task(watch.refresh())
        await until(lambda: second.done() or watch._refreshes._lock._waiters)
        bridge.readable.set()
        await until(lambda: len(news) == 2)
        assert [sa.unique_id for sa in watch.our_sas()] == [2]
        await second


async def test_charon_counts_as_away_until_the_first_refresh_is_complete(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """An empty answer would mean that no peer has an IKE_SA."""
    charon.up(FakeSa(1, "203.0.113.2", OWN))
    address, bridge = ip_address("203.0.113.2"), _SlowBridge()
    watch = CharonWatch(ViciCharon(charon.path, telemetry), {"gre1": "dmvpn"}, telemetry, certificates=bridge)
    async with running(watch.run()):
        await until(bridge.asked.is_set)
        assert watch.peers_at("gre1", address) is None
        bridge.readable.set()
        await until(lambda: watch.connected)
        assert [peer.identity for peer in watch.peers_at("gre1", address) or ()] == [OWN]


async def test_a_refresh_that_outlasts_its_session_shows_nothing(charon: FakeCharon, telemetry: Telemetry) -> None:
    """If charon is away, its IKE_SAs confirm no certificate."""
    bridge = _SlowBridge()
    async with watched(charon.path, telemetry, bridge) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"), silent=True)
        refresh = asyncio.create_task(watch.refresh())
        await until(bridge.asked.is_set)
        await charon.stop()
        await until(lambda: not watch.connected)
        bridge.readable.set()
        await asyncio.gather(refresh, return_exceptions=True)
        assert (list(watch.our_sas()), watch.ike_sas, watch.connected) == ([], (), False)


async def test_a_request_is_not_served_by_a_refresh_that_failed(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The next waiting request refreshes again."""
    async with watched(charon.path, telemetry) as watch:
        charon.hang = True
        started = watch._refreshes._started
        first, second = (asyncio.create_task(watch.refresh()) for _ in range(2))
        await until(lambda: watch._refreshes._started == started + 1)  # the second one waits for the first
        first.cancel()
        await until(lambda: watch._refreshes._started == started + 2)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_an_ike_sa_does_not_count_before_the_cas_that_came_with_it_are_known(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """One of them may be a reason to deny the peer."""
    address, shown = ip_address("203.0.113.2"), list[list[bytes]]()
    charon.certificates = [der()]
    known = asyncio.Event()

    async def learn(certificates: list[bytes]) -> None:
        shown.append(certificates)
        await known.wait()

    async with watched(charon.path, telemetry, learn_authorities=learn) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: shown)
        assert watch.peers_at("gre1", address) == frozenset()
        known.set()
        await until(lambda: watch.peers_at("gre1", address))
        assert shown == [[der()]]


async def test_only_changed_ike_sas_are_reported(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Traffic and rekeyed CHILD_SAs are not."""
    news: list[int] = []
    async with watched(charon.path, telemetry, changed=lambda: news.append(1)) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={11: "INSTALLED"}))
        await until(lambda: news)
        charon.rekey_child(1, old=11, new=12)
        await watch.refresh()
        assert len(news) == 1


async def test_a_connection_with_another_method_is_reported(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Who authenticated by it may have to be judged otherwise, and charon has no event for it."""
    news: list[int] = []
    async with watched(charon.path, telemetry, changed=lambda: news.append(1)) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: news)
        charon.connections["dmvpn"] = rounds("pubkey", "psk")
        await watch.refresh()
        assert len(news) == 2
        await watch.refresh()
        assert len(news) == 2


async def test_a_certificate_that_the_bridge_finds_late_is_reported(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Once, and not at each later look."""
    news: list[int] = []
    bridge = _Bridge(finds=False)
    async with watched(charon.path, telemetry, bridge, changed=lambda: news.append(1)) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: news)
        await watch.refresh_certificates()
        assert len(news) == 1
        bridge.finds = True
        await watch.refresh_certificates()
        assert len(news) == 2
        await watch.refresh_certificates()
        assert len(news) == 2


class _Bridge:
    """A bridge that knows all certificates, or ``finds`` none yet, and records the requests."""

    def __init__(self, *, finds: bool = True) -> None:
        self.finds = finds
        self.asked: list[str] = []

    async def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        self.asked += spis
        return dict.fromkeys(spis, der()) if self.finds else {}


async def test_no_certificate_is_loaded_for_a_peer_with_a_pre_shared_key(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """A thousand such peers would cause a thousand reads of the bridge's file."""
    charon.connections = {"dmvpn": rounds("psk")}
    charon.up(FakeSa(1, "203.0.113.2", "spoke1.example.net"))
    bridge = _Bridge()
    async with watched(charon.path, telemetry, bridge) as watch:
        assert watch.certificates_at("gre1", ip_address("203.0.113.2")) == ()
        assert bridge.asked == []


async def test_an_event_is_news_until_a_list_that_began_after_it(charon: FakeCharon, telemetry: Telemetry) -> None:
    """Until then another peer may be there than was listed."""
    first, second = ip_address("203.0.113.2"), ip_address("203.0.113.3")
    bridge = _SlowBridge()
    bridge.asked.set()
    async with watched(charon.path, telemetry, bridge) as watch:
        assert not watch.has_news(first)
        bridge.asked.clear()
        charon.up(FakeSa(1, str(first), "CN=spoke1"))
        await until(bridge.asked.is_set)
        charon.up(FakeSa(2, str(second), "CN=spoke2"))
        charon.up(FakeSa(3, str(first), "CN=spoke3"))
        await until(lambda: watch.has_news(second))
        bridge.readable.set()
        await until(lambda: watch.sas_at(first))
        assert watch.has_news(first)
        assert watch.has_news(second)
        await until(lambda: watch.sas_at(second))
        assert not watch.has_news(first)
        assert not watch.has_news(second)


OWN, VICTIM = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1", "CN=victim"


@pytest.mark.parametrize(("identity", "counts"), [(OWN, True), (VICTIM, False)])
async def test_an_unknown_method_is_public_key_if_the_certificate_proves_the_identity(
    charon: FakeCharon, telemetry: Telemetry, identity: str, counts: bool
) -> None:
    """The connection was loaded with another method meanwhile; another peer's identity stays unproven."""
    async with watched(charon.path, telemetry, _Bridge()) as watch:
        charon.connections["dmvpn"] = rounds("pubkey", "psk")
        await watch.refresh()
        charon.connections["dmvpn"] = rounds("pubkey")
        charon.up(FakeSa(1, "203.0.113.2", identity))
        await until(lambda: list(watch.our_sas()))
        present = watch.peers_at("gre1", ip_address("203.0.113.2")) or ()
        assert [(peer.identity, peer.unproven) for peer in present] == [(identity, not counts)]
        assert bool(watch.certificates_at("gre1", ip_address("203.0.113.2"))) == counts


async def test_an_identity_is_unproven_if_its_connection_is_gone(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The connection was unloaded while the IKE_SA came up."""
    async with watched(charon.path, telemetry) as watch:
        del charon.connections["dmvpn"]
        charon.up(FakeSa(1, "203.0.113.2", OWN))
        await until(lambda: list(watch.our_sas()))
        assert [one.unproven for one in watch.peers_at("gre1", ip_address("203.0.113.2")) or ()] == [True]


async def test_an_ike_sa_is_deleted_by_its_unique_id(charon: FakeCharon, telemetry: Telemetry) -> None:
    """A refresh right afterwards shows that it is gone."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: list(watch.our_sas()))
        await watch.end(next(watch.our_sas()))
        await watch.refresh()
        assert list(watch.our_sas()) == []


async def test_the_crls_are_loaded_after_each_connect(charon: FakeCharon, telemetry: Telemetry) -> None:
    """A restarted charon has forgotten them."""
    crl = x509.load_pem_x509_crl(crl_pem(7)).public_bytes(Encoding.DER)
    async with watched(charon.path, telemetry) as watch:
        await watch.load_crls((crl,))
        assert charon.crls == [crl]
        assert [name for name, _ in charon.requests][-2:] == ["load-cert", "flush-certs"]
        await charon.stop()
        await until(lambda: not watch.connected)
        await charon.start()
        await until(lambda: watch.connected)
        assert charon.crls == [crl, crl]


async def test_a_crl_too_long_for_vici_is_skipped_alone(
    charon: FakeCharon, telemetry: Telemetry, logs: list[dict[str, Any]]
) -> None:
    """It is logged once; the others are loaded at each connect."""
    crl, long = (
        x509.load_pem_x509_crl(crl_pem(*serials)).public_bytes(Encoding.DER) for serials in ([7], range(1, 4000))
    )
    async with watched(charon.path, telemetry) as watch:
        for _ in range(2):
            await watch.load_crls((long, crl))
        assert charon.crls == [crl, crl]
        assert telemetry.value(metrics.CRLS_LOADED, "too_long") == 2
        assert [entry["issuer"] for entry in logs if entry["event"] == "crl_too_long_for_charon"] == ["CN=test CA"]
        assert watch.connected


async def test_the_cas_in_charons_cache_are_learned_before_a_change_is_reported(
    charon: FakeCharon, telemetry: Telemetry
) -> None:
    """A peer's intermediate CA may be among them."""
    news: list[object] = []
    charon.certificates.append(b"a CA")

    async def learn(certificates: list[bytes]) -> None:
        news.append(certificates)

    async with watched(charon.path, telemetry, changed=lambda: news.append("changed"), learn_authorities=learn):
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: "changed" in news)
        assert news[:2] == [[b"a CA"], "changed"]


async def test_without_charon_no_ike_sa_can_be_deleted(charon: FakeCharon, telemetry: Telemetry) -> None:
    """The call raises, and a refresh shows no IKE_SA."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1"))
        await until(lambda: list(watch.our_sas()))
        sa = next(watch.our_sas())
        await charon.stop()
        await until(lambda: not watch.connected)
        with pytest.raises(CharonLost):
            await watch.end(sa)
        await watch.refresh()
        assert list(watch.our_sas()) == []


async def test_a_patched_charon_is_recognised(charon: FakeCharon, telemetry: Telemetry) -> None:
    """It knows the event ``child-state-installed``."""
    async with watched(charon.path, telemetry) as watch:
        assert watch.patched is True


async def test_the_watch_follows_sas_and_charons_restart(charon: FakeCharon, telemetry: Telemetry) -> None:
    """New SAs are listed; they are gone when charon stops, and the agent connects again."""
    async with watched(charon.path, telemetry) as watch:
        charon.up(FakeSa(1, "203.0.113.2", "CN=spoke1", children={2: "INSTALLED"}))
        await until(lambda: [sa.unique_id for sa in watch.ike_sas] == [1])
        await charon.stop()
        await until(lambda: not watch.connected)
        assert watch.ike_sas == ()
        charon.sas.clear()
        await charon.start()
        await until(lambda: watch.connected)


@needs_charon()
async def test_the_agent_connects_again_after_a_real_charon_was_killed(tmp_path: Path, telemetry: Telemetry) -> None:
    """Its socket file remains and refuses connections until the next charon creates its own."""
    async with AsyncExitStack() as stack:
        async with real_charon(tmp_path) as vici:
            watch = await stack.enter_async_context(watched(vici, telemetry))
        await until(lambda: not watch.connected)
        assert vici.is_socket()
        async with real_charon(tmp_path):
            await until(lambda: watch.connected)
            assert telemetry.value(metrics.VICI_RECONNECTS) == 2


async def test_a_connection_that_is_loaded_is_seen_without_an_event(charon: FakeCharon, telemetry: Telemetry) -> None:
    """charon starts without; each connection to charon counts as a session once its SAs are listed."""
    loaded, charon.connections = charon.connections, {}
    async with watched(charon.path, telemetry) as watch:
        await until(lambda: watch.connected)
        assert (watch.sessions, watch.has_connection("gre1"), watch.has_connection("gre9")) == (1, False, False)
        charon.connections = loaded
        await until(lambda: watch.has_connection("gre1"))
        await charon.stop()
        await until(lambda: not watch.connected)
        assert not watch.has_connection("gre1")
        await charon.start()
        await until(lambda: watch.sessions == 2)
