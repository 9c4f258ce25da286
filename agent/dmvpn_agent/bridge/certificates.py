"""The certificates that each IKE_SA was authenticated with, for a charon that does not tell.

charon's cache holds a peer's certificate right after its IKE_AUTH, but only 32 verified relations in all, evicted
at random: where forty peers come at once, some are gone again before all SAs were looked at. So they are taken at
every sign that somebody authenticated, before anything else is asked, and a peer's is kept as long as the IKE_SA,
through rekeying and restarts of either process.
The cache also holds certificates of which nobody has the key: only what a CA of the operator issued is taken. An
identity is a text that a peer chooses: a certificate proves it only where charon authenticated by public key. Of
several of one peer the one that entitles to least counts; where that keeps a newer one from counting, ``Renewals``
has the peer authenticate anew.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from hashlib import sha256
from typing import Protocol

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.certificate_index import Ambiguous, Candidate, CertificateIndex, Choice, choose
from dmvpn_agent.bridge.renewals import Renewals
from dmvpn_agent.charon.commands import list_certificates, list_sas
from dmvpn_agent.charon.connections import Connections
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable
from dmvpn_agent.x509.ike_identity import MAX_PRINTED

log = structlog.get_logger()

Pair = tuple[bytes, bytes]

_REVOKE = "revoke the older one and run `swanctl --flush-certs`, and have the peer use the newer one only"


class CertificateStore(Protocol):
    """Keeps certificates across restarts, by the IKE_SA's SPIs."""

    def load(self) -> Iterable[tuple[str, bytes, bytes]]:
        """Return SPIs, local and remote certificate of all that was saved."""

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Keep an IKE_SA's certificates; both are empty where they were looked for and not found."""

    def remove(self, spis: str) -> None:
        """Forget an IKE_SA; it need not be there."""


class Certificates:
    """Local and remote certificate (DER; empty where not known) by IKE_SA.

    ``is_ours(certificate, others)``: whether a CA of the operator issued a certificate, directly or by way of CA
    certificates among the others.
    """

    def __init__(
        self,
        store: CertificateStore,
        is_ours: Callable[[bytes, Sequence[bytes]], bool],
        telemetry: Telemetry,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
        proven: Set[str] = frozenset(),
    ) -> None:
        self._store = store
        self._is_ours = is_ours
        self._telemetry = telemetry
        self._clock = clocks.now
        self._renewals = Renewals(telemetry, clocks)
        self._unreadable = Unreadable(telemetry)
        self._connections = Connections(dict.fromkeys(proven, Authentication.PUBLIC_KEY))
        self._reading = asyncio.Lock()  # what is read before the cache is emptied must not be noted after it
        self._pairs: dict[str, Pair] = {}
        self._not_found: dict[str, Trouble] = {}
        self._wanted = asyncio.Event()
        self._authenticated: list[IkeSa] = []
        # What charon showed since the last look began, and before it: of whom, not every event tells.
        self._seen: set[bytes] = set()
        self._seen_before: set[bytes] = set()
        telemetry.observe(metrics.BRIDGE_CERTIFICATES, lambda: len(self._pairs))

    def start(self) -> None:
        """Take up what was stored."""
        own: dict[bytes, bytes] = {}  # the same for all, and held once
        stored = list(self._store.load())
        self._pairs = {spis: (own.setdefault(local, local), remote) for spis, local, remote in stored if remote}
        self._not_found = {spis: Trouble() for spis, _, remote in stored if not remote}

    async def begin(self, session: CharonSession, profiles: Set[str]) -> None:
        """Start to follow a charon, before it is asked for anything else. Raises ``CharonLost``.

        What was stored of an IKE_SA of a profile that authenticates by another method than public key is dropped.
        """
        self._connections.begin()
        sas = await list_sas(session)
        self._connections.note((sa for sa in sas if sa.spis in self._pairs), Authentication.PUBLIC_KEY)
        await self._connections.update(session, sas)
        other = [sa for sa in sas if self._connections.now(sa.name) is not Authentication.PUBLIC_KEY]
        self._connections.note(other, Authentication.OTHER)
        for sa in other:
            self._forget(sa.spis)
        for name in profiles:
            if (by := self._connections.now(name)) is not Authentication.PUBLIC_KEY:
                log.info("profile_without_certificates", connection=name, authentication=str(by),
                         consequence="nhrpd receives no certificate of its peers")  # fmt: skip

    def proven(self, sas: Iterable[IkeSa]) -> frozenset[str]:
        """Return the connections by public key of which no other IKE_SA is there."""
        return self._connections.pure(sas)

    def of(self, sa: IkeSa) -> Pair:
        """Return an IKE_SA's certificates."""
        return self._pairs.get(sa.spis, (b"", b""))

    def authenticated(self, sas: Iterable[IkeSa]) -> None:
        """Note that these IKE_SAs' peers authenticated just now."""
        self._authenticated += sas
        self._wanted.set()

    async def collect(self, session: CharonSession) -> None:
        """Wait until a peer has authenticated, then read charon's cache. Raises ``CharonLost``."""
        await self._wanted.wait()
        self._wanted.clear()
        sas, self._authenticated = self._authenticated, []
        async with self._reading:
            self._seen |= await _cached(session)
        self._keep_undoubted(await self._proven(session, sas), self._seen | self._seen_before)

    async def _proven(self, session: CharonSession, sas: Iterable[IkeSa]) -> list[IkeSa]:
        """Return those whose peer proved a certificate that is not known yet. Raises ``CharonLost``."""
        unknown = self._unknown(sas)
        await self._connections.update(session, unknown)
        return [sa for sa in unknown if self._connections.of(sa) is Authentication.PUBLIC_KEY]

    def _unknown(self, sas: Iterable[IkeSa]) -> list[IkeSa]:
        return [sa for sa in sas if sa.spis not in self._pairs]

    def _keep_undoubted(self, sas: Sequence[IkeSa], shown: Set[bytes]) -> None:
        """Keep the certificates of which there is no doubt; a look sees to the others."""
        everything = tuple(shown) if sas else ()
        known = self._known(everything)
        for sa in sas:
            with suppress(Ambiguous):
                choice = choose(self._candidates(sa, known, everything), self._clock(), sa.established_at)
                if choice is not None and not choice.wider:
                    self._keep(sa.spis, (_own(sa, known), choice.certificate.der))

    def _known(self, everything: Sequence[bytes]) -> CertificateIndex:
        known = CertificateIndex(everything)
        for der, why in known.unreadable.items():
            self._unreadable.skip(ItemSource.CERTIFICATE_CACHE, sha256(der).digest(), why)
        return known

    def _candidates(self, sa: IkeSa, known: CertificateIndex, everything: Sequence[bytes]) -> list[Candidate]:
        return [one for one in known.of(sa.remote_id) if self._is_ours(one.certificate.der, everything)]

    async def learn(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Find the certificates of IKE_SAs that are not known yet. Raises ``CharonLost``."""
        sas = tuple(sas)
        proven = await self._proven(session, sas)
        await self._end_doubtful(session, sas)
        seen = self._seen | self._seen_before
        self._seen_before, self._seen = self._seen, set()
        if not proven:
            return
        async with self._reading:
            everything = tuple(seen | await _cached(session) | self._seen)
        known = self._known(everything)
        competing: list[tuple[IkeSa, list[Candidate]]] = []
        for sa in self._unknown(proven):
            candidates = self._candidates(sa, known, everything)
            try:
                choice = choose(candidates, self._clock(), sa.established_at)
            except Ambiguous as error:
                self._missing(sa, *_ambiguous(error))
                if error.one_peers:
                    competing.append((sa, candidates))
                continue
            if choice is None:
                self._missing(sa, *_unproven(sa, candidates))
                await self._renewals.missing(session, sa)
                continue
            if choice.wider:
                self._narrower(sa, choice)
            if choice.outdated:
                competing.append((sa, candidates))
            self._keep(sa.spis, (_own(sa, known), choice.certificate.der))
        if renewable := [(sa, candidates) for sa, candidates in competing if self._renewals.may(sa)]:
            await self._renew(session, renewable)

    async def _end_doubtful(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Have peers authenticate anew of whom nobody knows how they did, where the connection asks for certificates.

        They came before their connection was known, or while it was loaded with another method.
        """
        doubtful = [
            sa
            for sa in self._unknown(sas)
            if self._connections.of(sa) is Authentication.OTHER
            and self._connections.now(sa.name) is Authentication.PUBLIC_KEY
        ]
        await self._renewals.doubtful(session, doubtful)

    async def _renew(self, session: CharonSession, competing: Sequence[tuple[IkeSa, Sequence[Candidate]]]) -> None:
        """Empty charon's cache of certificates that compete, and have those whom they may belong to come anew."""
        async with self._reading:
            self._seen |= await _cached(session)  # of all others, as late as it goes
            if not await self._renewals.flush(session):
                return
            outdated = {one.certificate.der for _, candidates in competing for one in candidates}
            self._seen -= outdated
            self._seen_before -= outdated
        for sa, _ in competing:
            await self._renewals.again(session, sa)

    def _narrower(self, sa: IkeSa, choice: Choice) -> None:
        others = " and ".join(sorted(f"{other.subject} ({other.serial:x})" for other in choice.wider))
        self._telemetry.increment(metrics.BRIDGE_CERTIFICATES_COMPETING)
        log.warning("certificates_compete", remote_id=sa.remote_id, nbma_address=str(sa.remote_host),
                    counts=f"{choice.certificate.subject} ({choice.certificate.serial:x})", not_counted=others,
                    why="charon holds several valid certificates of this peer; the narrower resources count",
                    do=_REVOKE)  # fmt: skip

    def _missing(self, sa: IkeSa, why: str, todo: str) -> None:
        if not self._not_found.setdefault(sa.spis, Trouble()).is_new(why):
            return  # the bridge looks for it again with every refresh
        self._store.save(sa.spis, b"", b"")  # the agent need not wait for it any longer
        self._telemetry.increment(metrics.BRIDGE_CERTIFICATES_MISSING)
        log.warning("certificate_not_found", remote_id=sa.remote_id, nbma_address=str(sa.remote_host), why=why,
                    consequence="nhrpd is given none, and the agent denies the peer", do=todo)  # fmt: skip

    def move(self, old: str, new: str) -> None:
        """Have the IKE_SA ``new`` take over the certificates of ``old``, which it replaced."""
        self._connections.move(old, new)
        if old in self._pairs:
            self._keep(new, self._pairs[old])

    async def resync(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Forget the certificates of all IKE_SAs but these, and read how peers are authenticated now.

        Raises ``CharonLost``.
        """
        sas = tuple(sas)
        await self._connections.update(session, (), read=True)
        self._connections.prune(sas)
        present = {sa.spis for sa in sas}
        for spis in (self._pairs.keys() | self._not_found.keys()) - present:
            self._forget(spis)

    def _forget(self, spis: str) -> None:
        pair, trouble = self._pairs.pop(spis, None), self._not_found.pop(spis, None)
        if pair is not None or trouble is not None:
            self._store.remove(spis)

    def _keep(self, spis: str, pair: Pair) -> None:
        self._pairs[spis] = pair
        self._store.save(spis, *pair)


async def _cached(session: CharonSession) -> set[bytes]:
    try:
        return set(await list_certificates(session))
    except CommandFailed as error:
        raise CharonLost(f"list-certs: {error}") from error


def _ambiguous(error: Ambiguous) -> tuple[str, str]:
    """Return why there is no certificate, and what to do."""
    if error.one_peers:
        return f"neither of the peer's certificates entitles to less than the other: {error}", _REVOKE
    return f"two peers' certificates prove it: {error}", "give each peer a name of its own"


def _unproven(sa: IkeSa, candidates: Sequence[Candidate]) -> tuple[str, str]:
    """Return why there is no certificate, and what to do."""
    if any(one.certain for one in candidates):
        return "the certificate that proves it is not valid now, or was not when the IKE_SA came up", (
            "renew it, and see whether the clocks of the CA, of the peer and of this node are right"
        )
    if candidates or len(sa.remote_id) >= MAX_PRINTED:
        return "charon prints other identities like this one (too long, not ASCII, or with a `*`)", (
            "have the peer authenticate by a subjectAltName of its certificate (`id` in swanctl.conf)"
        )
    return "charon has none that proves it and was issued by a CA in policy.ca_certificates", (
        "the peer's IKE identity must be its certificate's subject or a subjectAltName of it"
    )


def _own(sa: IkeSa, known: CertificateIndex) -> bytes:
    """Return this node's own certificate, which decides nothing."""
    own = [one.certificate for one in known.of(sa.local_id)]
    return max(own, key=lambda one: one.not_before).der if own else b""
