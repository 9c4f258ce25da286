"""What the bridge remembers of charon's cache of certificates."""

from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from dmvpn_agent.bridge.certificate_cache import CertificateCache
from dmvpn_agent.charon.session import CommandFailed, Read
from dmvpn_agent.charon.vici import Section
from dmvpn_agent.runtime.telemetry import Telemetry

ONE, OTHER = b"one", b"other"


class Session:
    """charon's cache; ``refuses``: charon knows no command."""

    def __init__(self) -> None:
        self.cache: set[bytes] = set()
        self.refuses = False

    async def request(self, command: str, message: Section) -> Section:
        if self.refuses:
            raise CommandFailed("unknown command")
        self.cache.clear()
        return {}

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        return [one for der in self.cache for one in read({"data": der})]

    async def register(self, event: str) -> bool:
        return True

    async def events(self) -> AsyncIterator[tuple[str, Section]]:
        return
        yield


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def cache(telemetry: Telemetry) -> CertificateCache:
    return CertificateCache(telemetry)


async def test_a_certificate_is_remembered_for_two_refreshes(cache: CertificateCache, session: Session) -> None:
    """charon may evict it before the bridge has listed its IKE_SA."""
    session.cache = {ONE}
    await cache.remember(session)
    session.cache = set()
    assert cache.begin_refresh() == {ONE}
    assert cache.begin_refresh() == {ONE}
    assert cache.begin_refresh() == set()


async def test_a_refresh_reads_what_came_since_it_began(cache: CertificateCache, session: Session) -> None:
    """Even if charon has evicted it again."""
    assert cache.begin_refresh() == set()
    session.cache = {ONE}
    await cache.remember(session)
    session.cache = {OTHER}
    assert await cache.read(session) == {ONE, OTHER}


async def test_a_flush_keeps_all_but_the_unwanted_certificates(cache: CertificateCache, session: Session) -> None:
    """Also those that the cache held only before the last refresh."""
    session.cache = {ONE, OTHER}
    await cache.remember(session)
    cache.begin_refresh()
    assert await cache.flush(session, {ONE})
    assert cache.remembered() == {OTHER}
    assert session.cache == set()


async def test_a_refused_flush_forgets_nothing(cache: CertificateCache, session: Session) -> None:
    """The unwanted certificate is still in charon's cache."""
    session.cache, session.refuses = {ONE}, True
    assert not await cache.flush(session, {ONE})
    assert cache.remembered() == {ONE}
