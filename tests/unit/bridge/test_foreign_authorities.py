"""CAs that charon trusts and the operator did not give to the policy: whom they can serve, and when that is known."""

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.certificate_cache import CertificateCache
from dmvpn_agent.bridge.foreign_authorities import ForeignAuthorities
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import NOW, YEAR, authority_pem, der
from fakes.certificate_cache import Cache
from foreign_ca import authority

OURS = x509.load_pem_x509_certificate(authority_pem()).public_bytes(Encoding.DER)
OFFICE = authority("Office CA")
ANY: tuple[frozenset[str], ...] = (frozenset(),)
DMVPN, OTHER = (frozenset({"CN=test CA"}),), (frozenset({"CN=Office CA"}),)


class Stand:
    """``trusted``: what charon still lists after a flush."""

    def __init__(self, *trusted: bytes) -> None:
        self.charon = Cache(*trusted)
        self.charon.loaded = list(trusted)
        self.telemetry = Telemetry()
        self.foreign = ForeignAuthorities(
            lambda der, _: der == OURS, CertificateCache(self.telemetry), self.telemetry, lambda: NOW
        )

    async def update(self, listed: Sequence[bytes], *, again: bool = False) -> None:
        self.charon.cache = list(listed)
        await self.foreign.update(self.charon, listed, again=again)


async def test_without_a_foreign_one_nothing_is_asked_of_charon() -> None:
    """The ordinary case costs no command."""
    stand = Stand(OURS)
    await stand.update([OURS, der()])
    assert not stand.foreign.serve(ANY)
    assert not stand.charon.requests


async def test_a_trusted_one_serves_every_connection_that_names_no_ca(logs: list[dict[str, Any]]) -> None:
    """It is named in the log once, with the remedy, and counted."""
    stand = Stand(OURS, OFFICE)
    for _ in range(2):
        await stand.update([OURS, OFFICE])
    assert stand.foreign.serve(ANY)
    assert stand.foreign.serve(())
    assert stand.foreign.serve(DMVPN + ANY)
    (entry,) = [one for one in logs if one["event"] == "foreign_authorities"]
    assert entry["authorities"] == ["CN=Office CA"]
    assert "cacerts" in entry["do"]
    assert stand.telemetry.value(metrics.BRIDGE_FOREIGN_AUTHORITIES) == 1


async def test_it_serves_no_connection_that_names_another_ca() -> None:
    """In every round; one that names it is served."""
    stand = Stand(OURS, OFFICE)
    await stand.update([OURS, OFFICE])
    assert not stand.foreign.serve(DMVPN)
    assert stand.foreign.serve(OTHER)
    assert stand.foreign.serve(DMVPN + OTHER)


async def test_one_that_a_stranger_sent_serves_none() -> None:
    """It is gone after a flush, so that a stranger can keep out nobody."""
    stand = Stand(OURS)
    await stand.update([OURS, authority("Stranger CA")])
    assert not stand.foreign.serve(ANY)
    assert stand.charon.flushes == 1


async def test_a_stranger_that_sends_it_again_at_once_is_seen_through() -> None:
    """It need not be listed after each of several flushes."""
    stand = Stand(OURS)
    stranger = authority("Stranger CA")
    stand.charon.returning = [stranger] * 5
    await stand.update([OURS, stranger])
    assert not stand.foreign.serve(ANY)


async def test_one_that_charon_trusts_no_more_is_forgotten() -> None:
    """As soon as charon does not list it; with ``again`` also if it is still in the cache."""
    stand = Stand(OURS, OFFICE)
    await stand.update([OURS, OFFICE])
    stand.charon.loaded = [OURS]
    await stand.update([OURS, OFFICE])
    assert stand.foreign.serve(ANY)
    await stand.update([OURS, OFFICE], again=True)
    assert not stand.foreign.serve(ANY)


async def test_if_charon_cannot_empty_its_cache_every_foreign_one_counts() -> None:
    """Then the bridge cannot know which of them it trusts."""
    stand = Stand(OURS)
    stand.charon.refuses = {"flush-certs"}
    await stand.update([OURS, OFFICE])
    assert stand.foreign.serve(ANY)


async def test_an_expired_one_does_not_count() -> None:
    """charon accepts no certificate of it."""
    stand = Stand(OURS)
    await stand.update([OURS, authority("Former CA", not_after=NOW - YEAR / 2)])
    assert not stand.foreign.serve(ANY)
    assert not stand.charon.flushes


@pytest.mark.parametrize("serves", [ANY, DMVPN])
async def test_one_that_cannot_be_read_may_be_any(serves: tuple[frozenset[str], ...]) -> None:
    """charon may be able to read it, and trusts it."""
    stand = Stand(OURS, b"\x30\x03no")
    await stand.update([OURS, b"\x30\x03no"])
    assert stand.foreign.serve(serves)
