"""The certificates that each IKE_SA was authenticated with, for a charon that does not tell.

charon's cache holds a peer's certificate right after its IKE_AUTH, but only 32 verified relations in all, evicted
at random: where forty peers come at once, some are gone again before all SAs were looked at. So they are taken at
every sign that somebody authenticated, before anything else is asked, and a peer's is kept as long as the IKE_SA,
through rekeying and restarts of either process.
The cache also holds certificates of which nobody has the key: only what a CA of the operator issued is taken.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Certificate
from dmvpn_agent.core.sa import IkeSa
from dmvpn_agent.service.charon import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.candidates import Ambiguous, by_identity, newest
from dmvpn_agent.wire.vici import Section

log = structlog.get_logger()

Pair = tuple[bytes, bytes]


class CertificateStore(Protocol):
    """Keeps certificates across restarts, by the IKE_SA's SPIs."""

    def load(self) -> Iterable[tuple[str, bytes, bytes]]:
        """Return SPIs, local and remote certificate of all that was saved."""

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Keep an IKE_SA's certificates."""

    def remove(self, spis: str) -> None:
        """Forget an IKE_SA; it need not be there."""


class Certificates:
    """Local and remote certificate (DER; empty where not known) by IKE_SA.

    ``is_ours(certificate, others)``: whether a CA of the operator issued a certificate, directly or by way of CA
    certificates among the others.
    """

    def __init__(
        self, store: CertificateStore, is_ours: Callable[[bytes, Sequence[bytes]], bool], telemetry: Telemetry
    ) -> None:
        self._store = store
        self._is_ours = is_ours
        self._telemetry = telemetry
        self._pairs: dict[str, Pair] = {}
        self._said: dict[str, str] = {}
        self._wanted = asyncio.Event()
        self._authenticated: list[IkeSa] = []
        # What charon showed since the last look began, and before it: of whom, not every event tells.
        self._seen, self._seen_before = set[bytes](), set[bytes]()
        telemetry.observe(metrics.BRIDGE_CERTIFICATES, lambda: len(self._pairs))

    def start(self) -> None:
        """Take up what was stored."""
        own: dict[bytes, bytes] = {}  # the same for all, and held once
        self._pairs = {spis: (own.setdefault(local, local), remote) for spis, local, remote in self._store.load()}

    def of(self, sa: IkeSa) -> Pair:
        """Return an IKE_SA's certificates."""
        return self._pairs.get(sa.spis, (b"", b""))

    def authenticated(self, sas: Iterable[IkeSa]) -> None:
        """Note that these IKE_SAs' peers authenticated just now."""
        self._authenticated += sas
        self._wanted.set()

    async def collect(self, session: CharonSession, collected: Callable[[], None]) -> None:
        """Take what charon's cache holds whenever somebody authenticated; never ends. Raises ``CharonLost``.

        ``collected`` is called each time that was done.
        """
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            sas, self._authenticated = self._authenticated, []
            self._seen |= await _cached(session)
            self._find(self._unknown(sas), self._seen)
            collected()

    async def learn(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Find the certificates of IKE_SAs that are not known yet. Raises ``CharonLost``."""
        unknown = self._unknown(sas)
        seen = self._seen | self._seen_before
        self._seen_before, self._seen = self._seen, set()
        if unknown:
            cached = await _cached(session)
            for sa, why, todo in self._find(self._unknown(unknown), seen | cached | self._seen):
                self._missing(sa, why, todo)

    def _unknown(self, sas: Iterable[IkeSa]) -> list[IkeSa]:
        return [sa for sa in sas if sa.spis not in self._pairs]

    def _find(self, sas: Sequence[IkeSa], shown: Set[bytes]) -> list[tuple[IkeSa, str, str]]:
        """Keep what proves these IKE_SAs; return those that nothing proves, each with why, and what to do."""
        if not sas:
            return []
        everything = tuple(shown)
        known = by_identity(everything)
        unproven = []
        for sa in sas:
            try:
                remote = newest([one for one in known.get(sa.remote_id, ()) if self._is_ours(one.der, everything)])
            except Ambiguous as error:
                why = f"two peers' certificates prove it: {error}"
                unproven.append((sa, why, "give each peer a name of its own"))
                continue
            if remote is None:
                why = "charon has none that proves it and was issued by a CA in policy.ca_certificates"
                todo = "the peer's IKE identity must be its certificate's subject or a subjectAltName of it"
                unproven.append((sa, why, todo))
                continue
            self._keep(sa.spis, (_own(sa, known), remote.der))
        return unproven

    def _missing(self, sa: IkeSa, why: str, todo: str) -> None:
        if self._said.get(sa.spis) == why:
            return  # it is looked for again with every look
        self._said[sa.spis] = why
        self._telemetry.increment(metrics.BRIDGE_CERTIFICATES_MISSING)
        log.warning("certificate_not_found", remote_id=sa.remote_id, nbma_address=str(sa.remote_host), why=why,
                    consequence="nhrpd is given none, and the agent denies the peer", do=todo)  # fmt: skip

    def move(self, old: str, new: str) -> None:
        """Have the IKE_SA ``new`` take over the certificates of ``old``, which it replaced."""
        if old in self._pairs:
            self._keep(new, self._pairs[old])

    def prune(self, sas: Iterable[IkeSa]) -> None:
        """Forget the certificates of all IKE_SAs but these."""
        present = {sa.spis for sa in sas}
        self._said = {spis: why for spis, why in self._said.items() if spis in present}
        for spis in self._pairs.keys() - present:
            del self._pairs[spis]
            self._store.remove(spis)

    def _keep(self, spis: str, pair: Pair) -> None:
        self._pairs[spis] = pair
        self._store.save(spis, *pair)


async def _cached(session: CharonSession) -> set[bytes]:
    try:
        return set(await session.stream("list-certs", {"type": "X509", "flag": "ANY"}, "list-cert", _data))
    except CommandFailed as error:
        raise CharonLost(f"list-certs: {error}") from error


def _data(item: Section) -> Iterator[bytes]:
    data = item.get("data")
    if isinstance(data, bytes):
        yield data


def _own(sa: IkeSa, known: Mapping[str, Sequence[Certificate]]) -> bytes:
    """Return this node's own certificate, which decides nothing."""
    return max(known.get(sa.local_id, ()), key=lambda one: one.not_before).der if sa.local_id in known else b""
