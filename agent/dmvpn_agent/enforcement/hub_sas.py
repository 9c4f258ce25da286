"""Keeps an IKE_SA with each hub that this node registers with, and says what is missing (``hub_state``)."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_state import ADDRESS_GONE, UNREGISTERED, Ask, Hub, HubState, Probe
from dmvpn_agent.enforcement.patience import Lack
from dmvpn_agent.enforcement.sa_requests import Asked, SaRequests
from dmvpn_agent.enforcement.sa_terminator import Sas
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime

log = structlog.get_logger()

#: Time between two reads of nhrpd's hubs: while there is a problem, and otherwise.
READ_SOON, READ_SELDOM = timedelta(seconds=2), timedelta(seconds=30)
#: How long nhrpd may name no hub although it has one: it reads its configuration, or resolves a name. After that the
#: node has none, as most hubs.
START_UP = timedelta(minutes=1)


class HubsUnknown(Exception):
    """nhrpd's hubs cannot be read now; the text says why."""


class Hubs(Protocol):
    """The hubs that nhrpd registers with."""

    async def read(self) -> Sequence[Hub]:
        """Return them. Raises ``HubsUnknown``."""

    def local_address(self, interface: str) -> Address | None:
        """Return a tunnel's own NBMA address; ``None`` if it has none now, or is down."""

    def is_gone(self, address: Address) -> bool:
        """Tell whether this node's interfaces are known, and none has this address."""


class ProbedSas(Sas, Protocol):
    """charon's IKE_SAs."""

    async def rekey_children(self, sa: IkeSa) -> None:
        """Have the CHILD_SAs of an IKE_SA rekeyed. Raises ``CharonLost``, ``CommandFailed``."""


class HubSas:
    """The IKE_SAs with this node's hubs. In a ``dry_run`` the agent only logs what it would ask for."""

    def __init__(
        self,
        sas: ProbedSas,
        requests: SaRequests,
        denials: DenialTable,
        hubs: Hubs,
        names: HubNames,
        clock: Uptime,
        *,
        dry_run: bool = False,
    ) -> None:
        self._sas = sas
        self._requests = requests
        self._denials = denials
        self._source = hubs
        self._names = names
        self._clock = clock
        self._dry_run = dry_run
        self._hubs: Sequence[Hub] = ()
        self._read_at: timedelta | None = None
        self._expected_until = clock() + START_UP
        self._known_at = timedelta.min
        self._trouble = Trouble()
        self._states: dict[tuple[str, Address], HubState] = {}

    def has(self, interface: str, nbma_address: Address) -> bool:
        """Tell whether this node registers with a hub at this address: then only this object asks for its IKE_SA."""
        return any((hub.interface, hub.nbma_address) == (interface, nbma_address) for hub in self._hubs)

    def expect(self) -> None:
        """Read often for a while: nhrpd has started, or resolves a name again, and may not name its hubs yet."""
        self._read_at, self._expected_until = None, self._clock() + START_UP

    def hurry(self) -> None:
        """Ask at once for what is missing: a link or address has changed."""
        self._read_at = None
        for state in self._states.values():
            state.hurry()

    async def check(self) -> list[Lack]:
        """Make one pass over all hubs: ask for what is missing, and return the registrations that are."""
        await self._read_if_due()
        if not self._hubs:
            return []
        denied = {denial.request.nbma_address for denial in self._denials}
        lacks: list[Lack] = []
        for hub in self._hubs:
            now, key = self._clock(), (hub.interface, hub.nbma_address)
            present = self._sas.sas_of(*key)
            if gone := tuple(sa for sa in present if self._source.is_gone(sa.local_host)):
                lacks.append(Lack(gone, ADDRESS_GONE, now, timedelta(0)))
            local = self._source.local_address(hub.interface)
            if local is None or hub.nbma_address in denied:
                self._states.pop(key, None)
                continue
            state = self._states.setdefault(key, HubState())
            if hub.name != str(hub.nbma_address) and state.name_due(now) and await self._names.check(hub):
                self.expect()
            for action in state.step(now, local, present, registered=hub.registered):
                match action:
                    case Lack(cause=cause):
                        lacks.append(replace(action, known_at=self._known_at) if cause == UNREGISTERED else action)
                    case Probe(sa):
                        await self._probe(sa)
                    case Ask():
                        await self._ask(hub, local, state)
        return lacks

    async def _ask(self, hub: Hub, local: Address, state: HubState) -> None:
        about = {"interface": hub.interface, "nbma_address": str(hub.nbma_address)}
        if self._dry_run:
            log.info("would_ask_for_hub", **about)
            return
        asked = await self._requests.ask(hub.interface, local, hub.nbma_address)
        if asked is Asked.SENT:
            log.info("hub_asked_for", **about, local_nbma_address=str(local))
        elif asked is Asked.AWAY:
            state.hurry()

    async def _probe(self, sa: IkeSa) -> None:
        log.info("hub_probed", nbma_address=str(sa.remote_host), ike_id=sa.unique_id,
                 why="it has begun another IKE_SA beside this one")  # fmt: skip
        with suppress(CharonLost, CommandFailed):  # as if the hub did not answer
            if not self._dry_run:
                await self._sas.rekey_children(sa)

    async def _read_if_due(self) -> None:
        now = self._clock()
        if self._read_at is not None and now - self._read_at < (READ_SELDOM if self._is_calm(now) else READ_SOON):
            return
        self._read_at = now
        try:
            self._hubs = await self._source.read()
        except HubsUnknown as error:
            if self._trouble.is_new(error):
                log.warning("hubs_unknown", why=str(error),
                            consequence="the agent asks for IKE_SAs with the hubs that it knew")  # fmt: skip
            return
        self._trouble.over()
        self._known_at = now
        present = {(hub.interface, hub.nbma_address) for hub in self._hubs}
        self._states = {key: state for key, state in self._states.items() if key in present}

    def _is_calm(self, now: timedelta) -> bool:
        if not self._hubs:
            return now >= self._expected_until
        return self._trouble.text is None and all(state.settled for state in self._states.values())
