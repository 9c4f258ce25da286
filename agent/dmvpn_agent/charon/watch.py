"""Keeps the agent's picture of charon's SAs, finds out which kind of strongSwan this is, and acts on charon.

Acting goes by the same connection: ending an IKE_SA, and giving charon the CRLs, which it is given again after each
connect, because a charon that restarted has forgotten them.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import timedelta

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.alerts import CharonAlerts
from dmvpn_agent.charon.commands import end_ike_sa, flush_crls, list_authorities, list_sas, load_crl
from dmvpn_agent.charon.connections import Connections
from dmvpn_agent.charon.ike_peer import IkePeer, ike_peer, proves
from dmvpn_agent.charon.sa import Authentication, IkeSa
from dmvpn_agent.charon.sa_certificates import CertificateSource, SaCertificates
from dmvpn_agent.charon.sa_changes import parse_alert, rekeyed_spis, sa_event
from dmvpn_agent.charon.sa_gauges import observe_sas
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.sa_totals import SaTotals
from dmvpn_agent.charon.session import (
    ALERT_EVENT,
    PATCHED_EVENT,
    SA_EVENTS,
    Charon,
    CharonLost,
    CharonSession,
    CommandFailed,
    follow,
)
from dmvpn_agent.charon.vici import MAX_VALUE, Section, ViciError
from dmvpn_agent.runtime.backoff import Trouble, Troubles
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.crl import crl_issuer

log = structlog.get_logger()

COALESCE = 0.2
#: Also how fresh the counts of traffic are.
RESYNC_INTERVAL = 30.0
#: How long the bridge may take to find the certificate of a new IKE_SA.
SETTLING = timedelta(seconds=10)


class CharonWatch:
    """charon's IKE_SAs as last seen; ``patched`` is ``None`` until charon was asked.

    ``tunnels``: each tunnel interface with its profile, which is the name of a connection. Who authenticated in a
    connection that is no profile is nobody here, and who did in another interface's is nobody there. ``totals``
    is what passed since the start, across rekeyings and reconnects. ``certificates``: who knows them by IKE_SA, for a
    charon that does not tell. ``changed`` is called when other IKE_SAs are there, or elsewhere, than before;
    ``learn`` is awaited before these IKE_SAs count, with the CA certificates (DER) that charon has by now,
    strangers' among them.
    """

    def __init__(
        self,
        charon: Charon,
        tunnels: Mapping[str, str],
        telemetry: Telemetry,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
        certificates: CertificateSource | None = None,
    ) -> None:
        self._charon = charon
        self._clocks = clocks
        self._alerts = CharonAlerts(telemetry, clocks.uptime)
        self._settled_at: dict[str, timedelta] = {}
        self._tunnels = tunnels
        self._profiles = frozenset(tunnels.values())
        self._telemetry = telemetry
        self._unreadable = Unreadable(telemetry)
        self._session: CharonSession | None = None
        # What was there before the agent is taken as what it is now, or a restart would throw everybody out.
        self._connections = Connections(trusts_first=True)
        self._ours: dict[Address, tuple[IkeSa, ...]] = {}
        self._certificates = SaCertificates(certificates)
        self._crls: tuple[bytes, ...] = ()
        self._trouble = Trouble()
        self._too_long = Troubles[bytes]()
        self.learn: Callable[[list[bytes]], Awaitable[None]] = _learn_nothing
        self.connected = False
        self.patched: bool | None = None
        self.ike_sas: tuple[IkeSa, ...] = ()
        self.totals = SaTotals()
        self.changed: Callable[[], None] = lambda: None
        self._looking = asyncio.Lock()
        self._looks_begun = self._looks_done = 0
        telemetry.observe(metrics.VICI_CONNECTED, lambda: self.connected)
        telemetry.observe(metrics.IKE_SAS, self._ike_states)
        telemetry.observe(metrics.CHILD_SAS, self._child_states)
        observe_sas(telemetry, lambda: tuple(self.our_sas()), self.totals)

    async def run(self) -> None:
        """Watch until cancelled, across charon's restarts."""
        while True:
            async with self._charon.session() as session:
                try:
                    await self._watch(session)
                except CharonLost as error:
                    if self._trouble.is_new(error):
                        log.warning("charon_lost", why=str(error))
                finally:
                    self._session = None
                    self._forget_sas()

    def _forget_sas(self) -> None:
        self.connected, self.ike_sas, self._ours = False, (), {}

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        """Return who had an IKE_SA with an NBMA address at the last look; ``None`` where charon is away."""
        if not self.connected:
            return None
        return frozenset(self._ike_peer(sa) for sa in self.sas_of(interface, address))

    def _ike_peer(self, sa: IkeSa) -> IkePeer:
        by = self._authentication(sa)
        return ike_peer(
            sa.remote_id,
            has_certificate=by is not Authentication.PRE_SHARED_KEY,
            unproven=by is Authentication.OTHER,
        )

    def _authentication(self, sa: IkeSa) -> Authentication:
        """Return how the peer of an IKE_SA authenticated.

        Where nobody saw it, a certificate that is known with it counts, if it proves the identity: charon tells that
        of a round that was passed (``AUTH_RULE_SUBJECT_CERT``), and the bridge that of one that it saw.
        """
        by = self._connections.of(sa)
        return Authentication.PUBLIC_KEY if by is Authentication.OTHER and self._has_proof(sa) else by

    def _has_proof(self, sa: IkeSa) -> bool:
        if self._connections.now(sa.name) is not Authentication.PUBLIC_KEY:
            return False
        return any(proves(one, sa.remote_id) for one in self._certificates.of((sa,)))

    def certificates_at(self, interface: str, address: Address) -> tuple[Certificate, ...]:
        """Return the certificates of those IKE_SAs, as far as they are known."""
        return self._certificates.of(self._showing(self.sas_of(interface, address)))

    def certificate_of(self, sa: IkeSa) -> Certificate | None:
        """Return the certificate that the peer of an IKE_SA proved, ``None`` where it is not known."""
        return next(iter(self._certificates.of(self._showing((sa,)))), None)

    def _showing(self, sas: Iterable[IkeSa]) -> Iterator[IkeSa]:
        """Yield those whose peer proved a certificate: of the others nobody has one."""
        return (sa for sa in sas if self._authentication(sa) is Authentication.PUBLIC_KEY)

    def _may_show(self, sas: Iterable[IkeSa]) -> Iterator[IkeSa]:
        """Yield those of which somebody may have a certificate: also where nobody saw how the peer authenticated."""
        for sa in sas:
            by = self._connections.of(sa)
            if by is Authentication.OTHER:
                by = self._connections.now(sa.name)
            if by is Authentication.PUBLIC_KEY:
                yield sa

    def certificates_complete(self, interface: str, address: Address) -> bool:
        """Tell whether the certificates of those IKE_SAs are known, as far as they ever will be."""
        now = self._clocks.uptime()
        showing = self._showing(self.sas_of(interface, address))
        return self._certificates.are_known(sa for sa in showing if self._settled_at.get(sa.spis, now) > now)

    def sas_of(self, interface: str, address: Address) -> tuple[IkeSa, ...]:
        """Return the established IKE_SAs of an interface's connection with an NBMA address at the last look."""
        profile = self._tunnels.get(interface)
        return tuple([sa for sa in self._ours.get(address, ()) if sa.name == profile])

    def sas_at(self, address: Address) -> tuple[IkeSa, ...]:
        """Return the DMVPN's established IKE_SAs with an NBMA address at the last look."""
        return self._ours.get(address, ())

    def our_sas(self) -> Iterator[IkeSa]:
        """Yield the DMVPN's established IKE_SAs at the last look."""
        for sas in tuple(self._ours.values()):  # metrics are read by another thread
            yield from sas

    async def refresh(self) -> None:
        """Ask charon for its SAs now; without it, nothing happens. Raises ``CharonLost``.

        All who ask while a look is under way share the next one: a storm of questions is no storm of looks.
        """
        asked = self._looks_begun
        async with self._looking:
            if self._session is None or self._looks_done > asked:
                return
            await self._look_alone(self._session)

    async def _look_next(self, session: CharonSession) -> None:
        """Look after a look that is under way: two at a time would leave the older list in place of the newer."""
        async with self._looking:
            await self._look_alone(session)

    async def _look_alone(self, session: CharonSession) -> None:
        self._looks_begun += 1
        this = self._looks_begun
        try:
            await self._look(session)
        finally:
            if self._session is not session:  # the session ended meanwhile, and what it showed with it
                self._forget_sas()
        self._looks_done = this

    async def refresh_certificates(self) -> None:
        """Look for the certificates that were not known at the last look: the bridge may have found them since."""
        await self._certificates.refresh(self._may_show(self.our_sas()))

    async def end(self, sa: IkeSa) -> None:
        """End an IKE_SA: charon tells the peer, and forgets it without waiting for an answer.

        Raises ``CharonLost``, ``CommandFailed``.
        """
        if self._session is None:
            raise CharonLost("charon is away")
        await end_ike_sa(self._session, sa, force=True)

    async def load_crls(self, crls: tuple[bytes, ...]) -> None:
        """Give charon these CRLs (DER), now and after each connect; it keeps the newest of each issuer."""
        self._crls = crls
        if self._session is not None:
            await self._load_crls(self._session)

    async def _load_crls(self, session: CharonSession) -> None:
        crls = [crl for crl in self._crls if len(crl) <= MAX_VALUE]
        self._leave_out([crl for crl in self._crls if len(crl) > MAX_VALUE])
        if not crls:
            return
        outcome = "loaded"
        try:
            for crl in crls:
                await load_crl(session, crl)
            # charon asks its cache of verified CRLs before those it was given, though they be newer.
            await flush_crls(session)
        except CommandFailed as error:
            outcome = "refused"
            log.warning("crl_refused_by_charon", why=str(error),
                        consequence="the agent denies revoked peers, charon may let them in")  # fmt: skip
        except CharonLost as error:
            outcome = "lost"
            log.warning("crl_not_loaded", why=str(error), consequence="it is loaded after the next connect")
        self._telemetry.increment(metrics.CRLS_LOADED, outcome, by=len(crls))

    def _leave_out(self, crls: list[bytes]) -> None:
        """Count and log the CRLs that charon cannot be given, each once (``TrustRead.problems`` has what to do)."""
        digests = {hashlib.sha256(crl).digest(): crl for crl in crls}
        for crl in map(digests.__getitem__, self._too_long.new(digests)):
            log.error("crl_too_long_for_charon", issuer=crl_issuer(crl), bytes=len(crl), limit=MAX_VALUE,
                      consequence="the agent denies whom it revokes, and ends their IKE_SAs; charon lets them"
                      " authenticate")  # fmt: skip
        if crls:
            self._telemetry.increment(metrics.CRLS_LOADED, "too_long", by=len(crls))

    async def _watch(self, session: CharonSession) -> None:
        for event in (*SA_EVENTS, ALERT_EVENT):
            if not await session.register(event):
                log.info("charon_event_unknown", event_name=event,
                         consequence="SAs are polled all the same; alerts are in charon's log only")  # fmt: skip
        self._connections.begin()
        self._say_kind(await session.register(PATCHED_EVENT))
        await self._load_crls(session)
        self._session = session
        await follow(
            session, self._heard, lambda: self._look_next(session),
            resync_interval=RESYNC_INTERVAL, coalesce=COALESCE,
        )  # fmt: skip

    def _heard(self, name: str, message: Section) -> bool:
        now = self._clocks.now()
        if name == "ike-rekey" and (spis := rekeyed_spis(message)):
            self._connections.move(*spis)
        try:
            if name == ALERT_EVENT:
                self._alerts.heard(*parse_alert(message, now))
                return True
            # Of a rekeying the new one comes last, and is where the peer is now.
            sas = [sa for sa in parse_ike_sas(message, now) if sa.name in self._profiles]
        except ViciError as error:
            self._unreadable.skip(ItemSource.CHARON_EVENT, str(error), f"{name}: {error}")
            return True
        if sas and (event := sa_event(name, message)):
            self.totals.event(event, sas[-1])
        return True

    async def _look(self, session: CharonSession) -> None:
        sas = tuple(
            await list_sas(session, self._clocks.now, {sa.unique_id: sa for sa in self.ike_sas}, self._unreadable)
        )
        await self._connections.update(session, (sa for sa in sas if sa.name in self._profiles), read=True)
        self._connections.prune(sas)
        self.totals.update(sa for sa in sas if sa.name in self._profiles)
        ours: dict[Address, tuple[IkeSa, ...]] = {}
        for sa in sas:
            if sa.name in self._profiles and sa.established:
                ours[sa.remote_host] = (*ours.get(sa.remote_host, ()), sa)
        await self._certificates.refresh(self._may_show(sa for there in ours.values() for sa in there))
        if changed := self._identities(ours) != self._identities(self._ours):
            # Before anybody is judged by these IKE_SAs: the CAs that a peer sent may be what denies it.
            await self._learn_authorities(session)
        self.connected, self.ike_sas, self._ours = True, sas, ours
        self._trouble.over()
        self._settled_at = {sa.spis: self._settled_at.get(sa.spis) or self._settles_at(sa) for sa in self.our_sas()}
        self._certificates.update(self._showing(self.our_sas()))
        if changed:
            self.changed()

    async def _learn_authorities(self, session: CharonSession) -> None:
        """Have the intermediate CAs looked at that peers send with their certificates."""
        try:
            shown = await list_authorities(session)
        except CommandFailed as error:
            log.warning("authorities_unknown", why=str(error),
                        consequence="intermediate CAs are known by policy.ca_certificates only")  # fmt: skip
            return
        await self.learn(shown)

    def _settles_at(self, sa: IkeSa) -> timedelta:
        """Return when an IKE_SA is no longer new: charon tells its age, in which the time of day counts for once."""
        age = self._clocks.now() - sa.established_at if sa.established_at else SETTLING
        return self._clocks.uptime() + max(SETTLING - age, timedelta())

    @staticmethod
    def _identities(ours: Mapping[Address, tuple[IkeSa, ...]]) -> frozenset[tuple[str, Address, str]]:
        return frozenset((sa.spis, sa.remote_host, sa.remote_id) for sas in ours.values() for sa in sas)

    def _say_kind(self, patched: bool) -> None:
        if patched is self.patched:
            return
        self.patched = patched
        if patched:
            log.info("charon_is_patched", bridge="not needed: nhrpd can talk to charon directly")
        else:
            log.info("charon_is_unpatched", bridge="needed: nhrpd must find `dmvpn-agent bridge` at /run/charon.vici")

    def _ike_states(self) -> Samples:
        return {(state,): count for state, count in Counter(sa.state for sa in self.ike_sas).items()}

    def _child_states(self) -> Samples:
        states = Counter(child.state for sa in self.ike_sas for child in sa.children)
        return {(state,): count for state, count in states.items()}


async def _learn_nothing(_: list[bytes]) -> None:
    """Stands in until somebody wants to learn."""
