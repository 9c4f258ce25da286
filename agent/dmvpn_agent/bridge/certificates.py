"""Finds each IKE_SA's certificate in charon's cache, for a charon that does not report it.

``certificate_choice`` says which certificate an IKE_SA gets. The cache holds it right after IKE_AUTH, but not for
long (``certificate_cache``). So the bridge reads the cache whenever a peer authenticates, before it asks charon for
anything else, and keeps what it found as long as the IKE_SA lives (``ike_sa_certificates``).
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence, Set
from hashlib import sha256

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.authority_files import IsOurs
from dmvpn_agent.bridge.certificate_cache import CertificateCache
from dmvpn_agent.bridge.certificate_choice import REVOKE, Chosen, NotFound, choose, names
from dmvpn_agent.bridge.certificate_index import CertificateIndex, Match
from dmvpn_agent.bridge.foreign_authorities import NAMESAKE, SERVED_BY_FOREIGN, ForeignAuthorities
from dmvpn_agent.bridge.ike_sa_certificates import CertificatePair, CertificateStore, IkeSaCertificates
from dmvpn_agent.bridge.renewals import Renewals
from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.connections import Connections
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.session import CharonSession
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()


class Certificates:
    """Local and remote certificate (DER; empty if unknown) of each IKE_SA.

    ``is_ours(certificate, others)``: whether a CA of the operator issued a certificate, directly or by way of CA
    certificates among the others. ``proven``: profiles of which the program before this one knew that all IKE_SAs
    authenticated by public key. Every coroutine raises ``CharonLost``.
    """

    def __init__(
        self,
        store: CertificateStore,
        is_ours: IsOurs,
        telemetry: Telemetry,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
        proven: Set[str] = frozenset(),
    ) -> None:
        self._is_ours = is_ours
        self._telemetry = telemetry
        self._clock = clocks.now
        self._known = IkeSaCertificates(store)
        self._cache = CertificateCache(telemetry)
        self._foreign = ForeignAuthorities(is_ours, self._cache, telemetry, clocks.now)
        self._renewals = Renewals(self._cache, telemetry, clocks)
        self._unreadable = Unreadable(telemetry)
        self._connections = Connections(dict.fromkeys(proven, Authentication.PUBLIC_KEY))
        #: By SPIs: the certificates of charon's own that the IKE_SA may be by.
        self._namesakes: dict[str, Set[bytes]] = {}
        self._authenticated: list[IkeSa] = []
        self._has_authenticated = asyncio.Event()
        telemetry.observe(metrics.BRIDGE_CERTIFICATES, lambda: len(self._known))

    def start(self) -> None:
        """Read what is stored."""
        self._known.load()

    async def begin(self, session: CharonSession, profiles: Set[str]) -> None:
        """Begin a session with charon, before any other command.

        What is stored of an IKE_SA is dropped if its connection proves no certificate now.
        """
        self._connections.begin()
        sas = await list_sas(session)
        self._connections.note((sa for sa in sas if sa.spis in self._known), Authentication.PUBLIC_KEY)
        await self._connections.update(session, sas)
        await self._foreign.update(session, tuple(await self._cache.read(session)), again=True)
        other = [sa for sa in sas if not self._proves(sa.name)]
        self._connections.note(other, Authentication.OTHER)
        for sa in other:
            self._known.forget(sa.spis)
        for name in profiles:
            if (method := self._connections.now(name)) is not Authentication.PUBLIC_KEY:
                log.info("profile_without_certificates", connection=name, authentication=str(method),
                         consequence="nhrpd receives no certificate of its peers")  # fmt: skip

    def has_connection(self, name: str) -> bool:
        """Tell whether charon had this connection when they were read last."""
        return name in self._connections

    async def read_connections(self, session: CharonSession) -> None:
        """Read how charon's connections authenticate their peers now."""
        await self._connections.update(session, (), read=True)

    def proven(self, sas: Iterable[IkeSa]) -> frozenset[str]:
        """Return the connections of which all IKE_SAs authenticated by public key."""
        return self._connections.pure(sas)

    def of(self, sa: IkeSa) -> CertificatePair:
        """Return an IKE_SA's certificates."""
        return self._known.of(sa.spis)

    def verdict(self, spis: str) -> bytes | None:
        """Return the certificate of an IKE_SA's peer; empty if none was found, ``None`` if not looked for yet."""
        return self._known.verdict(spis)

    def move(self, old: str, new: str) -> None:
        """Give the certificates of an IKE_SA (SPIs) to the one that replaced it by rekeying."""
        self._connections.move(old, new)
        if old in self._known:
            self._known.keep(new, self._known.of(old))

    async def resync(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Forget the certificates of all IKE_SAs but these, and read the connections' authentication methods."""
        sas = tuple(sas)
        await self.read_connections(session)
        self._connections.prune(sas)
        self._known.forget_all_but({sa.spis for sa in sas})
        if self._foreign:
            await self._look_for_foreign(session, tuple(await self._cache.read(session)), again=True)
        present = {sa.spis for sa in sas}
        self._namesakes = {spis: ders for spis, ders in self._namesakes.items() if spis in present}
        await self._foreign.look_again(session)

    def authenticated(self, sas: Iterable[IkeSa]) -> None:
        """Note that these IKE_SAs' peers authenticated just now."""
        self._authenticated += sas
        self._has_authenticated.set()

    async def collect(self, session: CharonSession) -> None:
        """Wait until a peer has authenticated, then read charon's cache at once.

        An IKE_SA gets its certificate here if nothing else could be the one; ``learn`` decides the others.
        """
        await self._has_authenticated.wait()
        self._has_authenticated.clear()
        sas, self._authenticated = self._authenticated, []
        await self._cache.remember(session)
        cached = tuple(self._cache.remembered())
        if not (by_public_key := await self._unknown_by_public_key(session, sas)):
            return
        index = self._index(cached)
        for sa in await self._by_ours_only(session, by_public_key, index, cached):
            chosen = choose(sa, self._matches(sa, index, cached), self._clock())
            if isinstance(chosen, Chosen) and not chosen.wider:
                self._keep(sa, index, chosen.certificate)

    async def learn(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """Find the certificates of those of these IKE_SAs that have none yet; report if there is none."""
        sas = tuple(sas)
        by_public_key = await self._unknown_by_public_key(session, sas)
        await self._renewals.end_unknown_methods(session, self._of_unknown_method(sas))
        remembered = self._cache.begin_refresh()
        if not by_public_key:
            return
        cached = tuple(await self._cache.read(session) | remembered)
        index = self._index(cached)
        renewable: list[tuple[IkeSa, list[Certificate]]] = []
        for sa in self._unknown(await self._by_ours_only(session, by_public_key, index, cached)):
            matches = self._matches(sa, index, cached)
            chosen = choose(sa, matches, self._clock())
            if chosen.renewable:
                renewable.append((sa, [match.certificate for match in matches]))
            if isinstance(chosen, Chosen):
                self._report_wider(sa, chosen)
                self._keep(sa, index, chosen.certificate)
                continue
            self._report_not_found(sa, chosen)
            if chosen.perhaps_flushed:
                await self._renewals.end_if_lost(session, sa)
        await self._renewals.renew(session, renewable)

    async def _unknown_by_public_key(self, session: CharonSession, sas: Iterable[IkeSa]) -> list[IkeSa]:
        """Return those without a certificate whose peer authenticated by public key."""
        unknown = self._unknown(sas)
        await self._connections.update(session, unknown)
        return [sa for sa in unknown if self._connections.of(sa) is Authentication.PUBLIC_KEY]

    async def _by_ours_only(
        self, session: CharonSession, sas: Sequence[IkeSa], index: CertificateIndex, cached: Sequence[bytes]
    ) -> list[IkeSa]:
        """Return those of these IKE_SAs whose peer can have used only a certificate of the operator's CAs.

        Of the others the method counts as unknown: once the operator has mended the cause, they authenticate again.
        """
        causes = await self._other_acceptable(session, sas, index, cached)
        others = [sa for sa in sas if sa.spis in causes]
        self._connections.note(others, Authentication.OTHER)
        for sa in others:
            self._report_not_found(sa, causes[sa.spis])
        return [sa for sa in sas if sa.spis not in causes]

    async def _other_acceptable(
        self, session: CharonSession, sas: Sequence[IkeSa], index: CertificateIndex, cached: Sequence[bytes]
    ) -> dict[str, NotFound]:
        """Return by SPIs which other certificates charon can have accepted for these IKE_SAs.

        Those of other CAs that it trusts, and, if the connection does not name its CAs, those that it has itself.
        """
        served = await self._look_for_foreign(session, cached)
        causes = {sa.spis: SERVED_BY_FOREIGN for sa in sas if served(sa.name) or not self._proves(sa.name)}
        namesakes: dict[str, Set[bytes]] = {}
        for sa in (one for one in sas if one.spis not in causes and self._takes_any(one.name)):
            matching = {match.certificate.der for match in index.matching(sa.remote_id)}
            foreign = {der for der in matching if not self._is_ours(der, cached)}
            if foreign != matching:  # otherwise it gets none of ours anyway
                namesakes[sa.spis] = foreign
        loaded = await self._foreign.loaded(session, frozenset[bytes]().union(*namesakes.values()))
        found = {spis: loaded & ders for spis, ders in namesakes.items() if loaded & ders}
        self._namesakes |= found
        return causes | dict.fromkeys(found, NAMESAKE)

    def _takes_any(self, name: str) -> bool:
        """Tell whether a round of a connection names no CA."""
        return not all(self._connections.ca_names(name) or (frozenset(),))

    async def _look_for_foreign(
        self, session: CharonSession, cached: Sequence[bytes], *, again: bool = False
    ) -> Callable[[str], bool]:
        """Find out which other CAs charon trusts now; return whether a former one could serve a connection.

        An IKE_SA that began before charon ceased to trust it may still be by a certificate of it.
        """
        before = await self._foreign.update(session, cached, again=again)

        def served(name: str) -> bool:
            return before(self._connections.ca_names(name))

        await self._connections.doubt(session, lambda name: served(name) and self._proves(name))
        return served

    def _proves(self, name: str) -> bool:
        """Tell whether charon takes, for this connection, only certificates of the operator's CAs."""
        by_public_key = self._connections.now(name) is Authentication.PUBLIC_KEY
        return by_public_key and not self._foreign.serve(self._connections.ca_names(name))

    def _of_unknown_method(self, sas: Iterable[IkeSa]) -> list[IkeSa]:
        """Return those that came up before their connection was known, or while it was loaded with another method."""
        return [
            sa
            for sa in self._unknown(sas)
            if self._connections.of(sa) is Authentication.OTHER
            and self._proves(sa.name)
            and not (self._takes_any(sa.name) and self._foreign.has(self._namesakes.get(sa.spis, ())))
        ]

    def _unknown(self, sas: Iterable[IkeSa]) -> list[IkeSa]:
        return [sa for sa in sas if sa.spis not in self._known]

    def _index(self, cached: Sequence[bytes]) -> CertificateIndex:
        index = CertificateIndex(cached)
        for der, why in index.unreadable.items():
            self._unreadable.skip(ItemSource.CERTIFICATE_CACHE, sha256(der).digest(), why)
        return index

    def _matches(self, sa: IkeSa, index: CertificateIndex, cached: Sequence[bytes]) -> list[Match]:
        return [match for match in index.matching(sa.remote_id) if self._is_ours(match.certificate.der, cached)]

    def _keep(self, sa: IkeSa, index: CertificateIndex, certificate: Certificate) -> None:
        """Keep a peer's certificate; this node's own one beside it is for nhrpd alone, and decides nothing."""
        own = [match.certificate for match in index.matching(sa.local_id)]
        newest = max(own, key=lambda one: one.not_before).der if own else b""
        self._known.keep(sa.spis, (newest, certificate.der))

    def _report_wider(self, sa: IkeSa, chosen: Chosen) -> None:
        if not chosen.wider:
            return
        self._telemetry.increment(metrics.BRIDGE_CERTIFICATES_COMPETING)
        log.warning("certificates_compete", remote_id=sa.remote_id, nbma_address=str(sa.remote_host),
                    counts=names([chosen.certificate]), not_counted=names(chosen.wider),
                    why="charon holds several valid certificates of this peer; the narrower resources count",
                    do=REVOKE)  # fmt: skip

    def _report_not_found(self, sa: IkeSa, none: NotFound) -> None:
        if not self._known.note_not_found(sa.spis, none.why):
            return  # the bridge looks for it again in every refresh
        self._telemetry.increment(metrics.BRIDGE_CERTIFICATES_MISSING)
        log.warning("certificate_not_found", remote_id=sa.remote_id, nbma_address=str(sa.remote_host), why=none.why,
                    consequence="nhrpd is given none, and the agent denies the peer", do=none.todo)  # fmt: skip
