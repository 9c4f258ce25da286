"""Which certificate of charon's cache each IKE_SA gets, and when its peer must authenticate again."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509

import certificates
import foreign_ca
from dmvpn_agent.bridge import metrics as bridge_metrics
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.renewals import PER_CACHE, PER_IDENTITY
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NOW, UNITS, Clock, der
from fakes.certificate_cache import Cache

DAY = timedelta(days=1)
BY_DNS = "spoke1.example"


class Memory:
    """A store; ``rows``: what an earlier process stored."""

    def __init__(self, *rows: tuple[str, bytes, bytes]) -> None:
        self.rows = {spis: (local, remote) for spis, local, remote in rows}

    def load(self) -> Iterable[tuple[str, bytes, bytes]]:
        return [(spis, *pair) for spis, pair in self.rows.items()]

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        self.rows[spis] = local, remote

    def remove(self, spis: str) -> None:
        self.rows.pop(spis, None)


class Stand:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.clock = Clock()
        self.stored = Memory()
        self.certificates = Certificates(self.stored, lambda *_: True, self.telemetry, self.clock.both)
        self._begun = False

    def sa(self, number: int = 1, identity: str = BY_DNS, established_at: datetime | None = None) -> IkeSa:
        address = ip_address("203.0.113.0") + number
        return IkeSa(number, "dmvpn", "ESTABLISHED", address, address, 500, "CN=hub", identity, f"{number:x}", "0",
                     (ChildSa(number, "dmvpn", "INSTALLED"),),
                     established_at=established_at or self.clock())  # fmt: skip

    async def learn(self, cache: Cache, *sas: IkeSa) -> list[bytes]:
        if not self._begun:
            await self.certificates.begin(cache, {"dmvpn"})
            self._begun = True
        await self.certificates.learn(cache, sas)
        return [self.certificates.of(sa)[1] for sa in sas]

    def counted(self, metric: runtime_metrics.Metric, *labels: str) -> float:
        return self.telemetry.value(metric, *labels)


@pytest.fixture
def stand() -> Stand:
    return Stand()


def _renewed(*units: str, days: int = 1) -> bytes:
    return der(units, not_before=NOW - days * DAY, dns_name=BY_DNS)


OLD = der(dns_name=BY_DNS)
GAINED = _renewed(*UNITS, "NET=192.168.9.0/24")
MOVED = _renewed(*UNITS[:2], "NET=192.168.9.0/24")


async def test_the_narrower_counts_and_the_log_names_the_remedy(stand: Stand, logs: list[dict[str, Any]]) -> None:
    """A renewal that removes a network is in force at once, without a reauthentication."""
    cache = Cache(GAINED, _renewed(*UNITS, days=0))
    assert await stand.learn(cache, stand.sa()) == [_renewed(*UNITS, days=0)]
    assert await stand.learn(cache, stand.sa()) == [_renewed(*UNITS, days=0)]
    (entry,) = [one for one in logs if one["event"] == "certificates_compete"]
    assert "NET=192.168.9.0/24" in entry["not_counted"]
    assert "--flush-certs" in entry["do"]
    assert not cache.requests


async def test_an_unreadable_certificate_affects_no_other(stand: Stand, logs: list[dict[str, Any]]) -> None:
    """Every refresh counts it, and it is logged once."""
    cache = Cache(b"\x30\x03no", OLD, certificates.der(serial=certificates.integer(-5)))
    assert await stand.learn(cache, stand.sa()) == [OLD]
    assert await stand.learn(cache, stand.sa(2)) == [OLD]
    assert stand.counted(runtime_metrics.UNREADABLE, "certificate_cache") == 2
    (entry,) = [one for one in logs if one["event"] == "item_unreadable"]
    assert entry["source"] == "certificate_cache"
    assert "not readable" in entry["why"]


@pytest.mark.parametrize("renewed", [GAINED, MOVED], ids=["gained a network", "moved to another"])
async def test_a_renewal_is_in_force_after_a_reauthentication(stand: Stand, renewed: bytes) -> None:
    """The bridge flushes the cache and ends the IKE_SA; then the cache holds the certificate that the peer uses."""
    cache = Cache(OLD, renewed)
    assert await stand.learn(cache, stand.sa()) == [OLD if renewed == GAINED else b""]
    assert (cache.flushes, cache.ended) == (1, ["1"])
    cache.cache.append(renewed)
    assert await stand.learn(cache, stand.sa(2)) == [renewed]
    assert (cache.flushes, cache.ended) == (1, ["1"])
    assert stand.counted(bridge_metrics.BRIDGE_CACHE_FLUSHES, "flushed") == 1
    assert stand.counted(bridge_metrics.BRIDGE_REAUTHENTICATIONS, "competing") == 1


async def test_a_flush_loses_no_other_peers_certificate(stand: Stand) -> None:
    """Neither of peers with an IKE_SA, nor of those whose IKE_SA is listed later."""
    other, later = der(name="spoke2", dns_name="spoke2.example"), der(name="spoke3", dns_name="spoke3.example")
    cache = Cache(OLD, GAINED, other, later)
    found = await stand.learn(cache, stand.sa(), stand.sa(2, "spoke2.example"))
    assert found == [OLD, other]
    assert await stand.learn(cache, stand.sa(3, "spoke3.example")) == [later]
    assert cache.ended == ["1"]


async def test_a_peer_that_lost_its_certificate_by_a_flush_reauthenticates_once(stand: Stand) -> None:
    """It came up between reading and flush. An IKE_SA of long before or after lost nothing."""
    cache = Cache(OLD, GAINED)
    long_ago = stand.sa(5, "spoke5.example", NOW - timedelta(minutes=1))
    lost = stand.sa(2, "spoke2.example", NOW - timedelta(seconds=1))
    await stand.learn(cache, stand.sa())
    for _ in range(3):
        assert await stand.learn(cache, lost, long_ago) == [b"", b""]
    stand.clock.advance(10)
    await stand.learn(cache, stand.sa(3, "spoke2.example"))
    assert cache.ended == ["1", "2"]
    assert stand.counted(bridge_metrics.BRIDGE_REAUTHENTICATIONS, "lost") == 1


async def test_a_peer_that_comes_back_without_a_certificate_after_a_flush_stays(stand: Stand) -> None:
    """It has none that proves its identity: to end its next IKE_SA, too, would bring it back forever."""
    cache, lost = Cache(OLD, GAINED), stand.sa(2, "spoke2.example", NOW - timedelta(seconds=1))
    await stand.learn(cache, stand.sa())
    for number in (2, 3, 4):
        await stand.learn(cache, replace(lost, unique_id=number, initiator_spi=f"{number:x}"))
    assert cache.ended == ["1", "2"]


async def test_an_identity_reauthenticates_at_most_once_an_hour(stand: Stand) -> None:
    """Another peer that keeps sending the old certificate must not end its IKE_SAs again and again."""
    number = 1
    for _ in range(3):
        cache = Cache(OLD, GAINED)
        assert await stand.learn(cache, stand.sa(number)) == [OLD]
        stand.clock.advance(PER_CACHE.total_seconds() + 1)
        number += 1
    assert stand.counted(bridge_metrics.BRIDGE_CACHE_FLUSHES, "flushed") == 1
    stand.clock.advance(PER_IDENTITY.total_seconds())
    await stand.learn(Cache(OLD, GAINED), stand.sa(number))
    assert stand.counted(bridge_metrics.BRIDGE_CACHE_FLUSHES, "flushed") == 2


async def test_the_cache_is_flushed_at_most_once_a_minute(stand: Stand) -> None:
    """However many identities need it."""
    cache = Cache(OLD, GAINED)
    await stand.learn(cache, stand.sa())
    other = [der(units, "spoke2", not_before=NOW - DAY, dns_name="spoke2.example") for units in (UNITS, UNITS[:2])]
    newer = der((*UNITS, "NET=192.168.8.0/24"), "spoke2", dns_name="spoke2.example", not_before=NOW - DAY / 2)
    cache.cache += [*other, newer]
    await stand.learn(cache, stand.sa(2, "spoke2.example"))
    assert cache.flushes == 1


async def test_if_charon_refuses_the_flush_no_ike_sa_is_ended(stand: Stand) -> None:
    """The narrower certificate still counts."""
    cache = Cache(OLD, GAINED)
    cache.refuses.add("flush-certs")
    assert await stand.learn(cache, stand.sa()) == [OLD]
    assert cache.ended == []
    assert stand.counted(bridge_metrics.BRIDGE_CACHE_FLUSHES, "failed") == 1


async def test_an_ike_sa_that_is_gone_already_is_counted_as_failed(stand: Stand) -> None:
    """charon finds none to terminate."""
    cache = Cache(OLD, GAINED)
    cache.refuses.add("terminate")
    assert await stand.learn(cache, stand.sa()) == [OLD]
    assert stand.counted(bridge_metrics.BRIDGE_REAUTHENTICATIONS, "failed") == 1


async def test_two_peers_of_one_identity_get_no_certificate(stand: Stand, logs: list[dict[str, Any]]) -> None:
    """Neither is made to authenticate again, which would change nothing."""
    cache = Cache(OLD, der(name="spoke2", dns_name=BY_DNS))
    assert await stand.learn(cache, stand.sa()) == [b""]
    assert not cache.requests
    (entry,) = [one for one in logs if one["event"] == "certificate_not_found"]
    assert entry["do"] == "give each peer a name of its own"


async def test_a_missing_certificate_is_stored_as_missing(stand: Stand) -> None:
    """The agent need not wait for it. The row goes when the certificate is found, or with the IKE_SA."""
    cache, lost, found = Cache(), stand.sa(1), stand.sa(2, "spoke2.example")
    await stand.learn(cache, lost, found)
    assert stand.stored.rows == {lost.spis: (b"", b""), found.spis: (b"", b"")}
    cache.cache = [der(name="spoke2", dns_name="spoke2.example")]
    await stand.learn(cache, lost, found)
    assert stand.stored.rows[found.spis][1] == cache.cache[0]
    await stand.certificates.resync(cache, [found])
    assert list(stand.stored.rows) == [found.spis]


async def test_a_certificate_stored_as_missing_is_looked_for_after_a_restart(stand: Stand) -> None:
    """The row is no certificate, and goes with the IKE_SA."""
    memory, sa = Memory((stand.sa().spis, b"", b"")), stand.sa()
    stand.certificates = Certificates(memory, lambda *_: True, stand.telemetry, stand.clock.both)
    stand.certificates.start()
    assert await stand.learn(Cache(OLD), sa) == [OLD]
    await stand.certificates.resync(Cache(), [])
    assert memory.rows == {}


async def test_a_name_that_is_not_ascii_needs_a_subject_alternative_name(
    stand: Stand, logs: list[dict[str, Any]]
) -> None:
    """charon prints other characters as question marks."""
    assert await stand.learn(Cache(der((), "M\u00fcller")), stand.sa(identity="CN=M??ller")) == [b""]
    (entry,) = [one for one in logs if one["event"] == "certificate_not_found"]
    assert "subjectAltName" in entry["do"]


async def test_an_expired_certificate_is_reported_as_such(stand: Stand, logs: list[dict[str, Any]]) -> None:
    """The operator renews it, or sets the clock."""
    assert await stand.learn(Cache(der(not_after=NOW - DAY, dns_name=BY_DNS)), stand.sa()) == [b""]
    (entry,) = [one for one in logs if one["event"] == "certificate_not_found"]
    assert "not valid now" in entry["why"]


@pytest.mark.parametrize("method", [b"public key", b"pre-shared key"])
async def test_stored_certificates_are_dropped_under_another_method(method: bytes) -> None:
    """The peer may then have chosen its identity freely."""
    stand, cache = Stand(), Cache()
    memory = Memory((stand.sa().spis, b"", OLD))
    certificates_ = Certificates(memory, lambda *_: True, stand.telemetry, stand.clock.both)
    certificates_.start()
    cache.method = method
    hosts = dict.fromkeys(("local-host", "remote-host"), b"203.0.113.1")
    cache.sas = [{"uniqueid": b"1", "state": b"ESTABLISHED", **hosts, "initiator-spi": b"1", "responder-spi": b"0"}]
    await certificates_.begin(cache, {"dmvpn"})
    kept = method == b"public key"
    assert certificates_.of(stand.sa())[1] == (OLD if kept else b"")
    assert bool(memory.rows) is kept


@pytest.mark.parametrize("cache", [Cache(), Cache(GAINED, _renewed(*UNITS, days=0))], ids=["none", "two"])
async def test_collect_keeps_a_certificate_only_if_no_other_matches(stand: Stand, cache: Cache) -> None:
    """Otherwise ``learn`` decides, which logs the reason."""
    await stand.certificates.begin(cache, {"dmvpn"})
    stand.certificates.authenticated([stand.sa()])
    await stand.certificates.collect(cache)
    assert stand.certificates.of(stand.sa()) == (b"", b"")


@pytest.mark.parametrize("looks", [False, True], ids=["first", "after a refresh"])
async def test_who_began_while_charon_trusted_another_ca_proved_nothing(stand: Stand, looks: bool) -> None:
    """Its IKE_AUTH may have waited for a CRL until charon ceased to trust that CA; who comes later did."""
    ours, office = foreign_ca.authority("test CA"), foreign_ca.authority("Office CA")
    stand.certificates = Certificates(
        stand.stored, lambda one, _: one in (ours, OLD), stand.telemetry, stand.clock.both
    )  # fmt: skip
    slow = stand.sa(1)
    cache = Cache(ours, office, OLD)
    cache.loaded = [ours, office]
    assert await stand.learn(cache) == []
    texts = {"uniqueid": "1", "state": "CONNECTING", "local-host": "203.0.113.1", "remote-host": "203.0.113.1",
             "initiator-spi": slow.initiator_spi, "responder-spi": slow.responder_spi}  # fmt: skip
    cache.sas = [{key: value.encode() for key, value in texts.items()}]
    cache.loaded, cache.cache = [ours], [ours, OLD]
    if looks:
        await stand.certificates.resync(cache, ())
    assert await stand.learn(cache, slow) == [b""]
    cache.sas = []
    assert await stand.learn(cache, stand.sa(2)) == [OLD]


NAMESAKE = foreign_ca.certificate("Office CA", x509.load_der_x509_certificate(OLD).subject)
SUBJECT = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"


@pytest.mark.parametrize("names_ca", [False, True], ids=["any CA", "cacerts"])
@pytest.mark.parametrize("has_it", [False, True], ids=["sent", "loaded"])
async def test_a_certificate_that_charon_has_itself_may_be_the_one(
    stand: Stand, names_ca: bool, has_it: bool
) -> None:
    """As one that the operator pins for another connection; one that a stranger sent goes with the cache."""
    stand.certificates = Certificates(stand.stored, lambda one, _: one == OLD, stand.telemetry, stand.clock.both)
    cache = Cache(OLD, NAMESAKE)
    cache.loaded = [NAMESAKE] if has_it else []
    cache.ca_names = [b"CN=test CA"] if names_ca else []
    expected = b"" if has_it and not names_ca else OLD
    sa = stand.sa(identity=SUBJECT)
    for _ in range(2):
        assert await stand.learn(cache, sa) == [expected]
    assert cache.flushes == (0 if names_ca else 8 if has_it else 1)
    assert cache.ended == []
    cache.cache, cache.loaded = [OLD, NAMESAKE], []
    await stand.certificates.resync(cache, [sa])
    assert await stand.learn(cache, sa) == [expected]
    assert cache.ended == ([] if expected else ["1"])  # its holder has to come again
    assert await stand.learn(cache, stand.sa(2, SUBJECT)) == [OLD]
