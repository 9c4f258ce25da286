"""Fetching CRLs from an HTTP server."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from structlog.typing import EventDict

from dmvpn_agent.crls.distribution_points import MAX_URLS, distribution_points
from dmvpn_agent.crls.fetched_files import FetchedFiles
from dmvpn_agent.crls.fetcher import CrlFetcher
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509 import crl
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import _revoked
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch
from factories import NOW, Clock
from fakes.http import FakeHttp, answer, http_server
from pki import Party

LAB, OTHER = Party("Lab CA"), Party("Other CA")
URL = "/lab.crl"


class World:
    """A server, a fetcher that asks it, and the reader of what was fetched."""

    def __init__(self, folder: Path, server: FakeHttp, interval: float = 600) -> None:
        self.folder, self.server, self.clock, self.telemetry = folder, server, Clock(), Telemetry()
        self.interval = interval
        (folder / "ca").mkdir(exist_ok=True)
        (folder / "ca" / "lab.crt").write_bytes(LAB.certify(LAB))
        self.files = TrustFiles((folder / "ca",), (), folder / "kept", fetched=folder / "crls")
        self.url = Url.parse(server.url + URL)
        self.paths = [self.url]
        self.start()

    def start(self) -> None:
        """As a new process."""
        self.reader = TrustFilesReader(self.files, KeptTrust(self.files.kept))
        self.trust = TrustWatch(self.reader, Telemetry(), _nothing, lambda _: None)
        self.trust.start()
        assert self.files.fetched is not None
        self.kept = FetchedFiles(self.files.fetched)
        self.fetcher = CrlFetcher(
            lambda: self.paths, self.interval, self.kept, self.trust.refusal, self.telemetry, self.clock.both
        )

    async def fetch(self, *body: bytes, after: float = 700, fields: tuple[str, ...] = ()) -> str:
        """Let the fetcher ask, and return the outcome; ``body``: what the server has by then."""
        for one in body:
            self.server.replies[URL] = answer(one, "200 OK", *fields)
        await self.fetcher.fetch_due()
        self.clock.advance(after)
        before = self.counts()
        await self.fetcher.fetch_due()
        return next((name for name, count in self.counts().items() if count > before.get(name, 0)), "")

    def counts(self) -> dict[str, float]:
        (family,) = [one for one in self.telemetry.families() if one.metric.name == "crl_fetches"]
        return {labels[0]: count for labels, count in family.samples.items()}

    async def revoked(self) -> set[int]:
        await self.trust.check()
        return {serial for crl in self.trust.trust.crls for serial in crl.serials}


async def _nothing(_: tuple[bytes, ...]) -> None:
    pass


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with http_server() as server:
        yield World(tmp_path, server)


async def test_a_new_crl_is_in_force(world: World) -> None:
    """Once it is fetched, the reader of CAs and CRLs finds it; no other file is needed."""
    assert await world.fetch(LAB.revoke_der(7)) == "new"
    assert await world.revoked() == {7}
    assert await world.fetch(LAB.revoke_der(7, 8, number=2)) == "new"
    assert await world.revoked() == {7, 8}
    assert not world.trust.problems


async def test_a_strangers_entries_are_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged CRL may have hundreds of thousands: it is refused by its signature, for the work of a short one."""
    read: list[bytes] = []

    def noted(der: bytes, at: int, end: int) -> Iterator[bytes]:
        read.append(der)
        return _revoked(der, at, end)

    monkeypatch.setattr(crl, "_revoked", noted)
    assert await world.fetch(OTHER.revoke_der(7)) == "refused"
    assert not read
    good = LAB.revoke_der(7)
    assert await world.fetch(good[:-20] + bytes(20)) == "refused"
    assert not read
    assert await world.fetch(good) == "new"
    assert read == [good]


async def test_what_did_not_change_is_not_sent_again(world: World) -> None:
    """The request has what the server said of the last answer, also after a restart."""
    await world.fetch(LAB.revoke_der(7), fields=('ETag: "v1"', "Last-Modified: Thu, 26 Nov 2026 12:00:00 GMT"))
    for _ in range(2):
        world.server.replies[URL] = answer(status="304 Not Modified")
        assert await world.fetch() == "unchanged"
        assert b'If-None-Match: "v1"\r\n' in world.server.requests[-1]
        assert b"If-Modified-Since: Thu, 26 Nov 2026 12:00:00 GMT\r\n" in world.server.requests[-1]
        world.start()
    assert await world.revoked() == {7}


async def test_without_the_crl_nothing_is_conditional(world: World) -> None:
    """If the file of the CRL is lost, cut off or changed, the whole CRL is asked for."""
    file = world.kept.file_of(world.url)
    for damage in (file.unlink, lambda: file.write_bytes(file.read_bytes()[:50])):
        await world.fetch(LAB.revoke_der(7), fields=('ETag: "v1"',))
        damage()
        assert await world.fetch(LAB.revoke_der(7), fields=('ETag: "v1"',)) == "new"
        assert b"If-None-Match" not in world.server.requests[-1]


async def test_not_modified_without_a_condition_is_no_answer(world: World) -> None:
    """A server that answers 304 to everything would keep a node without CRLs for ever."""
    world.server.replies[URL] = answer(status="304 Not Modified")
    assert await world.fetch() == "failed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"<html>Please log in</html>", "refused"),
        (LAB.revoke_der(7)[:-5], "refused"),
        (b"", "refused"),
        (OTHER.revoke_der(7), "refused"),
        (Party("Lab CA", "forged").revoke_der(9), "refused"),
        (LAB.revoke_der(number=1, update=NOW - timedelta(days=3)), "older"),
    ],
)
async def test_a_crl_that_does_not_count_replaces_nothing(world: World, body: bytes, outcome: str) -> None:
    """Of a captive portal, cut off, of another CA, forged, or older: the file stays, and the CRL in force."""
    good = LAB.revoke_der(7, number=5)
    await world.fetch(good)
    assert await world.fetch(body) == outcome
    assert world.kept.file_of(world.url).read_bytes() == good
    assert await world.revoked() == {7}
    (report,) = world.fetcher.reports()
    assert report.trouble


async def test_a_failure_is_tried_again_sooner_and_logged_once(world: World, logs: list[EventDict]) -> None:
    """After 15 s, then with growing intervals; a success is as ever."""
    await world.fetch(LAB.revoke_der(7))
    world.server.replies[URL] = answer(status="503 Service Unavailable")
    assert await world.fetch() == "failed"
    world.clock.advance(20)
    await world.fetcher.fetch_due()
    assert world.counts()["failed"] == 2
    assert [entry["event"] for entry in logs].count("crl_not_fetched") == 1
    world.server.replies[URL] = answer(LAB.revoke_der(7))
    world.clock.advance(40)
    await world.fetcher.fetch_due()
    assert [entry["event"] for entry in logs].count("crl_fetched_again") == 1


async def test_a_redirect_is_not_followed(world: World) -> None:
    """A server that is asked for a CRL cannot make the agent ask another host."""
    async with http_server() as other:
        other.replies["/"] = answer(LAB.revoke_der(7))
        world.server.replies[URL] = answer(b"", "301 Moved Permanently", f"Location: {other.url}/")
        assert await world.fetch() == "failed"
        assert not other.requests


async def test_a_full_disk_keeps_the_former_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is counted, and fetched again."""
    await world.fetch(LAB.revoke_der(7))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dmvpn_agent.crls.fetched_files.write_whole", full)
    assert await world.fetch(LAB.revoke_der(7, 8, number=2)) == "not_kept"
    assert await world.revoked() == {7}
    monkeypatch.undo()
    assert await world.fetch() == "new"
    assert await world.revoked() == {7, 8}


async def test_an_address_that_hangs_does_not_delay_the_others(world: World) -> None:
    """They are asked at the same time."""

    async def hang(_: bytes) -> bytes:
        await asyncio.sleep(3600)
        return b""

    world.paths = [Url.parse(f"{world.server.url}/hangs"), world.url]
    world.server.replies |= {"/hangs": hang, URL: answer(LAB.revoke_der(7))}
    await world.fetcher.fetch_due()
    world.clock.advance(10)
    task = asyncio.create_task(world.fetcher.fetch_due())
    async with asyncio.timeout(20):
        while not world.counts()["new"]:
            await asyncio.sleep(0.001)
    task.cancel()


def certificate_with(*points: x509.DistributionPoint) -> Certificate:
    read = read_certificate(LAB.certify(LAB, x509.CRLDistributionPoints(points)))
    assert isinstance(read, Certificate)
    return read


def point(*urls: str, **fields: Any) -> x509.DistributionPoint:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.DistributionPoint(names, fields.get("relative"), fields.get("reasons"), fields.get("issuer"))


def test_distribution_points_are_those_of_whole_crls_by_http() -> None:
    """Not by LDAP or from a file, not for some reasons only, not of another issuer."""
    names = [x509.DirectoryName(OTHER.name)]
    partly = frozenset({x509.ReasonFlags.key_compromise})
    certificate = certificate_with(
        point("ldap://ca/cn=a", "file:///etc/shadow", "http://ca.example/a.crl"),
        point("http://ca.example/some.crl", reasons=partly),
        point("http://ca.example/other.crl", issuer=names),
        point("http://ca.example/a.crl", "https://[2001:db8::1]/b.crl"),
    )
    found = distribution_points([certificate, LAB.leaf()])
    assert [str(url) for url in found] == ["http://ca.example/a.crl", "https://[2001:db8::1]/b.crl"]


def test_a_certificate_with_very_many_addresses_names_some() -> None:
    """So that it cannot make this node ask thousands."""
    certificate = certificate_with(*(point(f"http://ca.example/{number}") for number in range(1000)))
    assert len(distribution_points([certificate])) == MAX_URLS
