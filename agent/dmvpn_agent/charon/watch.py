"""Follows charon: its IKE_SAs as last listed, their peers, and whether this strongSwan has Alpine's patches."""

from collections.abc import Awaitable, Callable, Iterator, Mapping

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.alerts import CharonAlerts
from dmvpn_agent.charon.commands import (
    end_ike_sa,
    list_authorities,
    list_sas,
    rekey_child_sa,
)
from dmvpn_agent.charon.connection_wait import ConnectionWait
from dmvpn_agent.charon.crl_loader import CrlLoader
from dmvpn_agent.charon.events import ALERT_EVENT, PATCHED_EVENT, SA_EVENTS, Alert, CharonEvent, SaEventKind
from dmvpn_agent.charon.failure_log import Failure
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.charon.last_alerts import LastAlert, LastAlerts
from dmvpn_agent.charon.news import News
from dmvpn_agent.charon.own_certificates import OwnCertificates
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.sa_certificates import CertificateSource
from dmvpn_agent.charon.sa_identities import SaIdentities
from dmvpn_agent.charon.sa_totals import SaTotals
from dmvpn_agent.charon.session import Charon, CharonLost, CharonSession, CommandFailed, decoded_events, follow
from dmvpn_agent.charon.shared_refresh import SharedRefresh
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: Seconds in which events share one refresh.
COALESCE = 0.2
#: Seconds between two lists without an event, at least and at most: the counts of traffic are no older.
RESYNC_INTERVAL, LONGEST_RESYNC_INTERVAL = 30.0, 300.0
#: Seconds between two lists for each IKE_SA: reading one takes 50 µs, so that all of it is a thousandth of a core.
RESYNC_INTERVAL_PER_SA = 0.06

_SasByAddress = Mapping[Address, tuple[IkeSa, ...]]


def _ignore_change() -> None:
    pass


async def _ignore_authorities(_: list[bytes]) -> None:
    pass


class CharonWatch:
    """``ike_sas``: all of charon's, as last listed; ``patched`` is ``None`` until charon was asked.

    ``sessions``: how often charon was connected to and listed its SAs.
    ``tunnels``: the profile of each tunnel interface, which is the name of its connection. An IKE_SA of another
    connection does not belong to the interface. ``certificates``: those that the bridge found, for a charon that does
    not list them. ``totals``: traffic and events since the start. ``last_alerts``: about peers without an IKE_SA.
    ``changed`` is called when the DMVPN's IKE_SAs, their addresses, their identities, or what is known of how their
    peers authenticated have changed.
    ``learn_authorities`` is awaited before the changed IKE_SAs count, with all CA certificates (DER) in charon's
    cache, those of unauthenticated peers among them.
    """

    def __init__(
        self,
        charon: Charon,
        tunnels: Mapping[str, str],
        telemetry: Telemetry,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
        certificates: CertificateSource | None = None,
        changed: Callable[[], None] = _ignore_change,
        learn_authorities: Callable[[list[bytes]], Awaitable[None]] = _ignore_authorities,
    ) -> None:
        self._charon = charon
        self._tunnels = tunnels
        self._profiles = frozenset(tunnels.values())
        self._clock = clocks.now
        self._changed = changed
        self._learn_authorities = learn_authorities
        self._identities = SaIdentities(certificates, clocks)
        self._crls = CrlLoader(telemetry)
        self._alerts = CharonAlerts(telemetry, clocks.uptime)
        self._unreadable = Unreadable(telemetry)
        self._trouble = Trouble()
        self._source = Source(SourceName.CHARON, telemetry)
        self._source.note(up=False)  # until it is connected
        self._refreshes = SharedRefresh(self._refresh_session)
        self._wait = ConnectionWait()
        self._session: CharonSession | None = None
        self._ours: _SasByAddress = {}
        self._news = News()
        self.connected = False
        self.sessions = 0
        self.patched: bool | None = None
        self.raises_alerts = True
        self.ike_sas: tuple[IkeSa, ...] = ()
        self.totals = SaTotals()
        self.own_certificates = OwnCertificates(clocks.uptime)
        self.last_alerts = LastAlerts()

    async def run(self) -> None:
        """Follow charon until cancelled, across its restarts."""
        while True:
            async with self._charon.session() as session:
                try:
                    await self._follow(session)
                except CharonLost as error:
                    if self._trouble.is_new(error):
                        log.warning("charon_lost", why=str(error))
                finally:
                    self._session = None
                    self._forget_sas()

    def peers_at(self, interface: str, address: Address) -> frozenset[IkePeer] | None:
        """Return who authenticated in the IKE_SAs of ``sas_of``; ``None`` if charon is away."""
        if not self.connected:
            return None
        return frozenset(self._identities.peer(sa) for sa in self.sas_of(interface, address))

    def certificates_at(self, interface: str, address: Address) -> tuple[Certificate, ...]:
        """Return the certificates of the IKE_SAs of ``sas_of``, as far as they are known."""
        return self._identities.certificates(self.sas_of(interface, address))

    def certificates_complete(self, interface: str, address: Address) -> bool:
        """Tell whether no certificate of these IKE_SAs is awaited any longer."""
        return self._identities.certificates_complete(self.sas_of(interface, address))

    def has_news(self, address: Address) -> bool:
        """Tell whether charon has reported an event about an IKE_SA with an NBMA address since the last list."""
        return address in self._news

    def certificate_of(self, sa: IkeSa) -> Certificate | None:
        """Return the certificate by which the peer of an IKE_SA authenticated; ``None`` if it is not known."""
        return next(iter(self._identities.certificates((sa,))), None)

    def has_connection(self, interface: str) -> bool:
        """Tell whether charon had the connection of a tunnel interface at the last refresh."""
        return self.connected and self._identities.has_connection(self._tunnels.get(interface, ""))

    def sas_of(self, interface: str, address: Address) -> tuple[IkeSa, ...]:
        """Return the established IKE_SAs of an interface's connection with an NBMA address."""
        profile = self._tunnels.get(interface)
        return tuple([sa for sa in self._ours.get(address, ()) if sa.name == profile])

    def sas_at(self, address: Address) -> tuple[IkeSa, ...]:
        """Return the DMVPN's established IKE_SAs with an NBMA address."""
        return self._ours.get(address, ())

    def our_sas(self) -> Iterator[IkeSa]:
        """Yield the DMVPN's established IKE_SAs."""
        for sas in tuple(self._ours.values()):  # another thread reads the metrics
            yield from sas

    async def refresh(self) -> None:
        """List charon's SAs now; without charon, do nothing. Raises ``CharonLost``.

        Requests made during a refresh share the next one.
        """
        await self._refreshes.request()

    async def refresh_certificates(self) -> None:
        """Load certificates that were not known at the last refresh: the bridge may have found them since."""
        before = self._identities.evidence
        await self._identities.refresh_certificates(self.our_sas())
        if self._identities.evidence != before:
            self._changed()

    async def end(self, sa: IkeSa) -> None:
        """Delete an IKE_SA: charon notifies the peer, and drops the IKE_SA without waiting for an answer.

        Raises ``CharonLost``, ``CommandFailed``.
        """
        if self._session is None:
            raise CharonLost("charon is away")
        await end_ike_sa(self._session, sa, force=True)

    def note_failure(self, failure: Failure) -> None:
        """Note a failure to authenticate that charon logged, as an alert of it would be."""
        self.last_alerts.note(failure.address, LastAlert(failure.kind, failure.identity, self._clock()))

    async def rekey_children(self, sa: IkeSa) -> None:
        """Start rekeying the CHILD_SAs of an IKE_SA: only a peer that still has the IKE_SA answers.

        Raises ``CharonLost``, ``CommandFailed``.
        """
        if self._session is None:
            raise CharonLost("charon is away")
        for child in sa.children:
            if child.installed:
                await rekey_child_sa(self._session, child)

    async def load_crls(self, crls: tuple[bytes, ...]) -> None:
        """Load these CRLs (DER) into charon, now and after each connect; charon keeps the newest of each issuer."""
        self._crls.crls = crls
        if self._session is not None:
            await self._crls.load(self._session)

    async def _follow(self, session: CharonSession) -> None:
        self.raises_alerts = True
        for event in (*SA_EVENTS, ALERT_EVENT):
            if not await session.register(event):
                self.raises_alerts = self.raises_alerts and event != ALERT_EVENT
                log.info("charon_event_unknown", event_name=event,
                         consequence="SAs are polled all the same; alerts are in charon's log only")  # fmt: skip
        self._identities.begin()
        self._wait.begin()
        self._log_patched(await session.register(PATCHED_EVENT))
        await self._crls.load(session)
        self._session = session
        self.own_certificates.begin()
        events = decoded_events(session, self._profiles, self._unreadable, self._clock)
        await follow(
            events, self._apply, self._refresh_for_events, resync_interval=LONGEST_RESYNC_INTERVAL, coalesce=COALESCE
        )  # fmt: skip

    def _apply(self, event: CharonEvent) -> bool:
        """Note what an event shows; every event is followed by a refresh."""
        if isinstance(event, Alert):
            self._alerts.add(event)
            self.last_alerts.add(event, self._clock())
            return True
        self._news.note(sa.remote_host for sa in event.ike_sas)
        if event.rekeyed:
            self._identities.rekeyed(*event.rekeyed)
        if event.kind and event.ike_sas:  # of two, the new IKE_SA comes last, and has the peer's present address
            self.totals.add_event(event.kind, event.ike_sas[-1])
            if event.kind is SaEventKind.IKE_ESTABLISHED:
                self.last_alerts.ike_established(event.ike_sas[-1].remote_host)
            elif event.kind is SaEventKind.CHILD_INSTALLED:
                self.last_alerts.child_installed(event.ike_sas[-1].remote_host)
        return True

    async def _refresh_for_events(self) -> float:
        await self._refreshes.run()
        due = self._wait.due(complete=all(map(self._identities.has_connection, self._profiles)))
        return max(RESYNC_INTERVAL, RESYNC_INTERVAL_PER_SA * len(self.ike_sas)) if due is None else due

    async def _refresh_session(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            await self._refresh(session)
        finally:
            if self._session is not session:  # it ended meanwhile, and with it what it showed
                self._forget_sas()

    async def _refresh(self, session: CharonSession) -> None:
        self._news.begin_list()
        with self._source.read():
            listed = await list_sas(session, self._clock, {sa.unique_id: sa for sa in self.ike_sas}, self._unreadable)
        of_profiles = tuple(sa for sa in listed if sa.name in self._profiles)
        self.totals.update(of_profiles)
        before = self._identities.evidence
        await self._identities.refresh(session, of_profiles, listed)
        ours: dict[Address, tuple[IkeSa, ...]] = {}
        for sa in of_profiles:
            if sa.established:
                ours[sa.remote_host] = (*ours.get(sa.remote_host, ()), sa)
        changed = _identities(ours) != _identities(self._ours)
        if changed:
            # Before any decision by these IKE_SAs: a CA certificate that a peer sent may be a reason to deny it.
            await self._read_authorities(session)
        await self.own_certificates.refresh(session)
        self.sessions += not self.connected
        self.connected, self.ike_sas, self._ours = True, tuple(listed), ours
        self._news.end_list()
        self._trouble.over()
        self._identities.keep(self.our_sas())
        if changed or self._identities.evidence != before:
            self._changed()

    async def _read_authorities(self, session: CharonSession) -> None:
        """Report the intermediate CAs that peers send with their certificates."""
        try:
            authorities = await list_authorities(session)
        except CommandFailed as error:
            log.warning("authorities_unknown", why=str(error),
                        consequence="intermediate CAs are known by policy.ca_certificates only")  # fmt: skip
            return
        await self._learn_authorities(authorities)

    def _forget_sas(self) -> None:
        self.connected, self.ike_sas, self._ours = False, (), {}
        self._source.note(up=False)

    def _log_patched(self, patched: bool) -> None:
        if patched is self.patched:
            return
        self.patched = patched
        if patched:
            log.info("charon_is_patched", bridge="not needed: nhrpd can talk to charon directly")
        else:
            log.info("charon_is_unpatched", bridge="needed: nhrpd must find `dmvpn-agent bridge` at /run/charon.vici")


def _identities(ours: _SasByAddress) -> frozenset[tuple[str, Address, str]]:
    return frozenset((sa.spis, sa.remote_host, sa.remote_id) for sas in ours.values() for sa in sas)
