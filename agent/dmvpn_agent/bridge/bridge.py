"""The bridge: gives nhrpd the events and certificates that a charon without Alpine's patches does not.

What charon reports only says which IKE_SA to look at again; the difference between what nhrpd was told and what
charon then shows is what it is told, new circuits first, so that no rekeying leaves it without one. What really ended
is told as such: a peer that was thrown out, or is called back, must not seem to have been there all the time. When
charon is lost, so are the circuits: nhrpd's connection is closed, and it resets them.

charon's other connections do not exist here: nhrpd would take an IKE_SA of one of them for a tunnel of the DMVPN.
"""

import asyncio
from collections.abc import Iterable, Mapping, Set

import structlog

from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.circuit_table import CircuitTable
from dmvpn_agent.bridge.clients import Client, Clients
from dmvpn_agent.bridge.surplus_watch import SurplusEnder
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.commands import list_sas
from dmvpn_agent.charon.sa import CONNECTING, Circuit, IkeSa, addresses, circuits
from dmvpn_agent.charon.sa_changes import ChildChange, child_changes, ike_ids, rekeyed_spis
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.session import PATCHED_EVENT, SA_EVENTS, Charon, CharonLost, CharonSession, follow
from dmvpn_agent.charon.vici import Section, ViciError, text
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()

RESYNC_INTERVAL = 30.0
#: Seconds after an upgrade within which charon must have been read; nhrpd is not left in the dark for longer.
ADOPTION_TIMEOUT = 5.0


class Bridge:
    """Keeps clients in step with one charon. ``told``: the circuits that clients handed over to it know of.

    ``profiles``: the connections that nhrpd has to know of, by their whole name. ``acquirer``: the next request
    for two addresses is not held back once a circuit between them has come or gone.
    """

    def __init__(
        self,
        charon: Charon,
        certificates: Certificates,
        surplus: SurplusEnder,
        acquirer: Acquirer,
        profiles: Set[str],
        telemetry: Telemetry,
        failures: Failures | None = None,
        told: Iterable[Circuit] = (),
    ) -> None:
        self._charon = charon
        self._certificates = certificates
        self._surplus = surplus
        self._acquirer = acquirer
        self._unreadable = Unreadable(telemetry)
        self._failures = failures or Failures(telemetry)
        self._trouble = Trouble()
        self._profiles = profiles
        self._stale: set[int] = set()
        self._changes: list[ChildChange] = []
        self._arrivals: dict[int, Circuit] = {}
        self._unidentified: set[int] = set()
        self._ready = asyncio.Event()
        self.clients = Clients(certificates, telemetry)
        self.circuits = CircuitTable(circuit for circuit in told if circuit[0].name in profiles)
        self.session: CharonSession | None = None
        telemetry.observe(metrics.VICI_CONNECTED, lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Tell whether the circuit table is complete: before, and after charon was lost, no client can be served."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Wait until the circuit table is complete."""
        await self._ready.wait()

    def proven(self) -> frozenset[str]:
        """Return the profiles all of whose IKE_SAs are known to be by public key."""
        return self._certificates.proven(self.circuits.sas.values()) & self._profiles

    def connected(self, client: Client) -> None:
        """Take up a client; it is closed at once where charon is not there, and comes back by itself."""
        if self.ready:
            self.clients.add(client)
        else:
            client.close("charon_away")

    def adopt(self, client: Client) -> None:
        """Take up a client of the program before this one, which knows of the circuits that were handed over."""
        self.clients.add(client)

    def disconnected(self, client: Client) -> None:
        """Let go of a client."""
        self.clients.discard(client)

    async def run(self) -> None:
        """Keep the circuits and tell the clients, until cancelled, across charon's restarts."""
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
        self._stale, self._changes, self._arrivals, self._unidentified = set(), [], {}, set()

    def _give_up_adopted(self) -> None:
        if not self.ready and tuple(self.clients):
            log.error("adoption_failed", why=f"charon was not reached within {ADOPTION_TIMEOUT:g} s of the upgrade",
                      consequence="nhrpd resets its circuits")  # fmt: skip
            self._lost()

    async def _follow(self, session: CharonSession) -> None:
        for event in SA_EVENTS:
            if not await session.register(event):
                log.warning("event_unknown", event_name=event, consequence="seen at the next resync instead")
        if await session.register(PATCHED_EVENT):
            log.warning(
                "charon_is_patched",
                bridge="not needed",
                do="stop it, and give charon its own socket back (charon.plugins.vici.socket)",
            )

        with self._failures.contained("certificates", CharonLost):
            await self._certificates.begin(session, self._profiles)

        async def look() -> float | None:
            stale, self._stale = self._stale, set()
            if await self._look(session, stale if stale and self.ready else None):
                await self._look(session, None)
            if not self.ready:
                self.session = session
                self._ready.set()
                self._trouble.over()
                log.info("bridge_ready", ike_sas=len(self.circuits.sas), circuits=len(self.circuits.announced))
            with self._failures.contained("surplus", CharonLost):
                return await self._surplus.check(session, self.circuits.duplicates())
            return None

        collecting = asyncio.create_task(self._collect(session))
        try:
            await follow(session, self._heard, look, resync_interval=RESYNC_INTERVAL)
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

    def _heard(self, event: str, message: Section) -> bool:
        message = self._of_profiles(message)
        if event == "ike-rekey" and (spis := rekeyed_spis(message)):
            self._certificates.move(*spis)
        up = text(message, "up") == "yes"
        ids = ike_ids(message)
        self._changes += child_changes(event, message)
        sas = self._shown(message) if up or event == "ike-update" else []
        if event == "ike-updown" and up:
            self._certificates.authenticated(sas)
        unfinished = event == "ike-updown" if up else any(sa.state == CONNECTING for sa in sas)
        if unfinished and not ids & self.circuits.sas.keys():
            return False  # charon says when it has its CHILD_SA
        self._stale |= ids
        if event == "child-updown" and up:
            self._arrivals |= circuits(sas)
            self._announce_arrivals()
        return True

    def _shown(self, message: Section) -> list[IkeSa]:
        """Return the IKE_SAs that an event shows; none where it cannot be read, and the look after it will."""
        try:
            return list(parse_ike_sas(message, utc_now()))
        except ViciError as error:
            self._unreadable.skip(ItemSource.CHARON_EVENT, str(error), str(error))
            return []

    def _of_profiles(self, message: Section) -> Section:
        """Return an event without what it shows of other connections."""
        return {
            name: value for name, value in message.items() if not isinstance(value, Mapping) or name in self._profiles
        }

    def _announce_arrivals(self) -> None:
        """Announce a new peer at once if its certificate is known and no other event waits; the look comes after.

        charon answers ``list-sas`` only when it has no IKE_SA in hand, and has, where peers come.
        """
        if not self.ready or any(not change.came for change in self._changes):
            return
        for circuit in self._arrivals.values():
            if self._certificates.of(circuit[0])[1] and self.circuits.announce_early(circuit):
                self._announce("child-state-installed", circuit)

    async def _look(self, session: CharonSession, ids: set[int] | None) -> bool:
        """Look at these IKE_SAs, or at all, and tell the clients what is different; return whether that leaves doubt.

        Raises ``CharonLost``.
        """
        wanted: Iterable[int | None] = (None,) if ids is None else ids
        answers = await asyncio.gather(
            *(list_sas(session, utc_now, {}, self._unreadable, ike_id=number) for number in wanted)
        )
        seen = {sa.unique_id: sa for answer in answers for sa in answer if sa.name in self._profiles}
        if not self.ready and self.circuits.is_of_another_charon(seen.values()):
            raise CharonLost("charon was restarted during the upgrade")
        with self._failures.contained("certificates", CharonLost):  # who has none is announced without, and denied
            await self._certificates.learn(session, (*_with_circuits(seen.values()), *self._unproven(ids)))
            if ids is None:
                await self._certificates.resync(session, seen.values())
        # What charon said before it answered has been heard by now.
        changes, self._changes = self._changes, []
        self._arrivals = {
            key: circuit for key, circuit in self._arrivals.items() if circuit[0].unique_id in self._stale
        }
        announcements = self.circuits.update(seen, changes, ids)
        for circuit in announcements.interrupted:
            self._announce("child-state-destroying", circuit)
        installed = {child.unique_id: (sa, child) for sa, child in (*self._identified(), *announcements.installed)}
        for circuit in installed.values():
            self._announce("child-state-installed", circuit)
        for circuit in announcements.destroyed:
            self._announce("child-state-destroying", circuit)
        told = self.circuits.announced
        self._unidentified = {
            key
            for key in (told if ids is None else self._unidentified | installed.keys())
            if key in told and not self._certificates.of(told[key][0])[1]
        }
        return announcements.unconfirmed

    def _unproven(self, ids: Set[int] | None) -> list[IkeSa]:
        """Return the IKE_SAs that are not looked at now, and whose certificate was not found before."""
        told = (self.circuits.announced.get(key) for key in self._unidentified)
        return [sa for sa, _ in filter(None, told) if ids is not None and sa.unique_id not in ids]

    def _identified(self) -> list[Circuit]:
        """Return the circuits that nhrpd was told of without a certificate, which has been found since."""
        told = (self.circuits.announced.get(key) for key in self._unidentified)
        return [circuit for circuit in told if circuit and self._certificates.of(circuit[0])[1]]

    def _announce(self, event: str, circuit: Circuit) -> None:
        sa, child = circuit
        # A start finds all of them, and there is nobody to tell yet.
        say = log.info if self.ready or tuple(self.clients) else log.debug
        say(event.replace("-", "_"), connection=sa.name, remote=str(sa.remote_host), remote_id=sa.remote_id,
                 ike_id=sa.unique_id, child_id=child.unique_id)  # fmt: skip
        self.clients.announce(event, circuit)
        self._acquirer.forget(addresses(sa))


def _with_circuits(sas: Iterable[IkeSa]) -> list[IkeSa]:
    return [sa for sa in sas if any(child.installed for child in sa.children)]
