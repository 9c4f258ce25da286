"""The bridge: gives nhrpd the events and certificates that a charon without Alpine's patches does not.

An event of charon only says which IKE_SAs to list again. The bridge announces to nhrpd the difference between what it
announced before and what charon lists (``CircuitTable``). If charon is lost, so are the circuits: the bridge closes
nhrpd's connection, and nhrpd resets them.

charon's other connections are left out: nhrpd would take an IKE_SA of one of them for a tunnel of the DMVPN.
"""

import asyncio
from collections.abc import Iterable, Set

import structlog

from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.circuit_table import CircuitTable
from dmvpn_agent.bridge.clients import Client, Clients
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.connection_wait import ConnectionWait
from dmvpn_agent.charon.events import PATCHED_EVENT, SA_EVENTS, Alert, CharonEvent, SaEventKind
from dmvpn_agent.charon.sa import Circuit, IkeSa, addresses, circuits
from dmvpn_agent.charon.session import Charon, CharonLost, CharonSession, decoded_events, follow
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import Clock, utc_now
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable

log = structlog.get_logger()

RESYNC_INTERVAL = 30.0
#: Seconds after an upgrade within which charon's SAs must be listed; after that nhrpd is disconnected.
ADOPTION_TIMEOUT = 5.0


class Bridge:
    """Keeps nhrpd in step with charon.

    ``profiles``: the names of the connections that nhrpd has to know of. ``announced``: the circuits that the program
    before this one announced to the clients that it handed over; those of other connections are announced as gone,
    because no listing has them. ``acquirer``: accepts a request for two addresses
    again once a circuit between them has come or gone.
    """

    def __init__(
        self,
        charon: Charon,
        certificates: Certificates,
        duplicates: DuplicateTerminator,
        acquirer: Acquirer,
        profiles: Set[str],
        telemetry: Telemetry,
        failures: Failures | None = None,
        announced: Iterable[Circuit] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._charon = charon
        self._certificates = certificates
        self._duplicates = duplicates
        self._acquirer = acquirer
        self._unreadable = Unreadable(telemetry)
        self._failures = failures or Failures(telemetry)
        self._trouble = Trouble()
        self._profiles = profiles
        self._clock = clock
        # The unique ids of the IKE_SAs to list again, and the circuits that events showed since the last refresh.
        self._stale: set[int] = set()
        self._arrivals: dict[int, Circuit] = {}
        #: The circuits that were announced without a certificate.
        self._uncertified: set[int] = set()
        self._ready = asyncio.Event()
        self._wait = ConnectionWait()
        self.clients = Clients(certificates, telemetry)
        self.circuits = CircuitTable(announced)
        self.session: CharonSession | None = None
        telemetry.observe(metrics.VICI_CONNECTED, lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether the circuit table is complete; while it is not, no client can be served."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Wait until the circuit table is complete."""
        await self._ready.wait()

    def proven(self) -> frozenset[str]:
        """Return the profiles all of whose IKE_SAs were authenticated by public key."""
        return self._certificates.proven(self.circuits.sas.values()) & self._profiles

    async def has_connection(self, profile: str) -> bool:
        """Tell whether charon has the connection of a profile: it starts without. Raises ``CharonLost``.

        A request of the kernel that charon refuses keeps the kernel from making another one for 30 s
        (xfrm_acq_expires).
        """
        if not self._certificates.has_connection(profile) and self.session is not None:
            await self._certificates.read_connections(self.session)
        return self._certificates.has_connection(profile)

    def connected(self, client: Client) -> None:
        """Add a client; if charon is away, close it: nhrpd connects again."""
        if self.ready:
            self.clients.add(client)
        else:
            client.close("charon_away")

    def adopt(self, client: Client) -> None:
        """Add a client of the program before this one, which announced the circuits to it."""
        self.clients.add(client)

    def disconnected(self, client: Client) -> None:
        """Remove a client."""
        self.clients.discard(client)

    async def run(self) -> None:
        """Follow charon and announce circuits until cancelled, across charon's restarts."""
        asyncio.get_running_loop().call_later(ADOPTION_TIMEOUT, self._give_up_adopted)
        while True:
            async with self._charon.session() as session:
                try:
                    await self._follow(session)
                except CharonLost as error:
                    if self._trouble.is_new(error):
                        log.warning("charon_lost", why=str(error), consequence="nhrpd resets its circuits")
                finally:
                    self._lost()

    def _lost(self) -> None:
        self._ready.clear()
        self.session = None
        self.clients.close("charon_lost")
        self.circuits = CircuitTable()
        self._stale, self._arrivals, self._uncertified = set(), {}, set()

    def _give_up_adopted(self) -> None:
        if not self.ready and tuple(self.clients):
            log.error("adoption_failed", why=f"charon was not reached within {ADOPTION_TIMEOUT:g} s of the upgrade",
                      consequence="nhrpd resets its circuits")  # fmt: skip
            self._lost()

    async def _follow(self, session: CharonSession) -> None:
        for event in SA_EVENTS:
            if not await session.register(event):
                log.warning(
                    "event_unknown",
                    event_name=event,
                    consequence="the bridge notices such changes at the next resync only",
                )
        if await session.register(PATCHED_EVENT):
            log.warning(
                "charon_is_patched",
                bridge="not needed",
                do="stop it, and give charon its own socket back (charon.plugins.vici.socket)",
            )

        self._wait.begin()
        with self._failures.contained("certificates", CharonLost):
            await self._certificates.begin(session, self._profiles)

        events = decoded_events(session, self._profiles, self._unreadable, self._clock)
        collecting = asyncio.create_task(self._collect(session))
        try:
            await follow(events, self._apply, lambda: self._refresh(session), resync_interval=RESYNC_INTERVAL)
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)

    async def _collect(self, session: CharonSession) -> None:
        backoff = Backoff(0.2, 10)
        while True:
            backoff.begin()
            try:
                while True:
                    await self._certificates.collect(session)
                    self._announce_arrivals()
            except CharonLost:
                return
            except Exception as error:
                self._failures.note("certificates", error, consequence="the bridge looks for them again")
                await asyncio.sleep(backoff.failed())

    def _apply(self, event: CharonEvent) -> bool:
        """Note what an event shows; return whether to list IKE_SAs again."""
        if isinstance(event, Alert) or not event.ours:
            return False
        if event.rekeyed:
            self._certificates.move(*event.rekeyed)
        self.circuits.note(event.child_changes)
        for change in event.child_changes:
            if not change.came:  # a listing that has begun may not show it any more: it is not new again
                self._arrivals.pop(change.unique_id, None)
        if event.kind is SaEventKind.IKE_ESTABLISHED and event.ike_sas:
            self._certificates.authenticated(event.ike_sas)
        if event.precedes_child and not event.ike_ids & self.circuits.sas.keys():
            return False
        self._stale |= event.ike_ids
        if event.kind is SaEventKind.CHILD_INSTALLED:
            self._arrivals |= circuits(event.ike_sas)
            self._announce_arrivals()
        return True

    def _announce_arrivals(self) -> None:
        """Announce new circuits before charon lists them, if their certificates are known.

        While many peers connect, charon takes long to answer ``list-sas``: it waits for each IKE_SA that is in use.
        """
        if not self.ready:
            return
        for circuit in self._arrivals.values():
            if self._has_certificate(circuit) and self.circuits.announce_early(circuit):
                self._announce("child-state-installed", circuit)

    async def _refresh(self, session: CharonSession) -> float | None:
        """List the IKE_SAs that events were about, or all; return in how many seconds to refresh again, if sooner.

        Raises ``CharonLost``.
        """
        stale, self._stale = self._stale, set()
        if await self._update(session, stale if stale and self.ready else None):
            await self._update(session, None)
        if not self.ready:
            self.session = session
            self._ready.set()
            self._trouble.over()
            log.info("bridge_ready", ike_sas=len(self.circuits.sas), circuits=len(self.circuits.announced))
        due = [self._wait.due(complete=all(map(self._certificates.has_connection, self._profiles)))]
        with self._failures.contained("surplus", CharonLost):
            due.append(await self._duplicates.check(session, self.circuits.duplicates()))
        return min((one for one in due if one is not None), default=None)

    async def _update(self, session: CharonSession, ids: set[int] | None) -> bool:
        """List these IKE_SAs, or all, and announce the difference; return whether all have to be listed to be sure.

        Raises ``CharonLost``.
        """
        wanted: Iterable[int | None] = (None,) if ids is None else ids
        answers = await asyncio.gather(
            *(list_sas(session, self._clock, {}, self._unreadable, ike_id=number) for number in wanted)
        )
        everything = [sa for answer in answers for sa in answer]
        listed = {sa.unique_id: sa for sa in everything if sa.name in self._profiles}
        if not self.ready and self.circuits.is_of_another_charon(listed.values()):
            raise CharonLost("charon was restarted during the upgrade")
        # A circuit without a certificate is announced without, and the agent denies the peer.
        with self._failures.contained("certificates", CharonLost):
            sas = (*_with_circuits(listed.values()), *self._uncertified_besides(ids))
            await self._certificates.learn(session, sas)
            if ids is None:
                await self._certificates.resync(session, everything)
        # All events that charon raised before it answered are noted by now.
        self._arrivals = {
            key: circuit for key, circuit in self._arrivals.items() if circuit[0].unique_id in self._stale
        }
        announcements = self.circuits.update(listed, ids)
        for circuit in announcements.interrupted:
            self._announce("child-state-destroying", circuit)
        installed = {child.unique_id: (sa, child) for sa, child in (*self._certified(), *announcements.installed)}
        for circuit in installed.values():
            self._announce("child-state-installed", circuit)
        for circuit in announcements.destroyed:
            self._announce("child-state-destroying", circuit)
        announced = self.circuits.announced
        self._uncertified = {
            key
            for key in (announced if ids is None else self._uncertified | installed.keys())
            if key in announced and not self._has_certificate(announced[key])
        }
        return announcements.unconfirmed

    def _uncertified_besides(self, ids: Set[int] | None) -> list[IkeSa]:
        """Return the IKE_SAs, other than those listed now, that were announced without a certificate."""
        found = (self.circuits.announced.get(key) for key in self._uncertified)
        return [sa for sa, _ in filter(None, found) if ids is not None and sa.unique_id not in ids]

    def _certified(self) -> list[Circuit]:
        """Return the circuits that were announced without a certificate, if it has been found since."""
        found = (self.circuits.announced.get(key) for key in self._uncertified)
        return [circuit for circuit in found if circuit and self._has_certificate(circuit)]

    def _has_certificate(self, circuit: Circuit) -> bool:
        return bool(self._certificates.of(circuit[0])[1])

    def _announce(self, event: str, circuit: Circuit) -> None:
        sa, child = circuit
        # At a start all circuits are announced, and no client is connected yet.
        write = log.info if self.ready or tuple(self.clients) else log.debug
        write(event.replace("-", "_"), connection=sa.name, remote=str(sa.remote_host), remote_id=sa.remote_id,
              ike_id=sa.unique_id, child_id=child.unique_id)  # fmt: skip
        self.clients.announce(event, circuit)
        self._acquirer.forget(addresses(sa))


def _with_circuits(sas: Iterable[IkeSa]) -> list[IkeSa]:
    return [sa for sa in sas if any(child.installed for child in sa.children)]
