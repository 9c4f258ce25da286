"""Keeps an IKE_SA with each hub that this node registers with (``hub_state``)."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_state import ADDRESS_GONE, Action, Ask, End, Hub, HubState
from dmvpn_agent.enforcement.sa_requests import Asked, SaRequests
from dmvpn_agent.enforcement.sa_terminator import Sas, SaTerminator
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime

log = structlog.get_logger()

#: Seconds between two checks.
CHECK_INTERVAL = 0.5
#: Time between two reads of nhrpd's hubs: while one has a problem, and otherwise.
READ_SOON, READ_SELDOM = timedelta(seconds=2), timedelta(seconds=30)


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


class HubSas:
    """The IKE_SAs with this node's hubs. In a ``dry_run`` the agent only logs what it would ask for."""

    def __init__(
        self,
        sas: Sas,
        requests: SaRequests,
        terminator: SaTerminator,
        denials: DenialTable,
        hubs: Hubs,
        names: HubNames,
        clock: Uptime,
        *,
        dry_run: bool = False,
    ) -> None:
        self._sas = sas
        self._requests = requests
        self._terminator = terminator
        self._denials = denials
        self._source = hubs
        self._names = names
        self._clock = clock
        self._dry_run = dry_run
        self._hubs: Sequence[Hub] = ()
        self._read_at: timedelta | None = None
        self._trouble = Trouble()
        self._states: dict[tuple[str, Address], HubState] = {}

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(CHECK_INTERVAL)

    def hurry(self) -> None:
        """Ask at once for what is missing: a link or address has changed."""
        self._read_at = None
        for state in self._states.values():
            state.hurry()

    async def check(self) -> None:
        """Make one pass over all hubs."""
        await self._read_if_due()
        denied = {denial.request.nbma_address for denial in self._denials}
        for hub in self._hubs:
            present = self._sas.sas_of(hub.interface, hub.nbma_address)
            if gone := tuple(sa for sa in present if self._source.is_gone(sa.local_host)):
                await self._end(gone, ADDRESS_GONE)
            local = self._source.local_address(hub.interface)
            if local is None or hub.nbma_address in denied:
                self._states.pop((hub.interface, hub.nbma_address), None)
                continue
            state = self._states.setdefault((hub.interface, hub.nbma_address), HubState())
            present = self._sas.sas_of(hub.interface, hub.nbma_address)
            if hub.name != str(hub.nbma_address) and state.name_due(self._clock()):
                await self._names.check(hub)
            if action := state.step(self._clock(), local, present, registered=hub.registered):
                await self._do(action, hub, local)

    async def _do(self, action: Action, hub: Hub, local: Address) -> None:
        match action:
            case End(sas, cause):
                await self._end(sas, cause)
            case Ask() if self._dry_run:
                log.info("would_ask_for_hub", interface=hub.interface, nbma_address=str(hub.nbma_address))
            case Ask():
                asked = await self._requests.ask(hub.interface, local, hub.nbma_address)
                if asked is Asked.SENT:
                    log.info("hub_asked_for", interface=hub.interface, nbma_address=str(hub.nbma_address),
                             local_nbma_address=str(local))  # fmt: skip
                elif asked is Asked.AWAY:
                    self._states[hub.interface, hub.nbma_address].hurry()

    async def _end(self, sas: Sequence[IkeSa], cause: str) -> None:
        if all(self._terminator.may_terminate(sa, cause) for sa in sas):
            await self._terminator.end(dict.fromkeys(sas, cause))

    async def _read_if_due(self) -> None:
        now = self._clock()
        calm = all(state.settled for state in self._states.values())
        if self._read_at is not None and now - self._read_at < (READ_SELDOM if calm else READ_SOON):
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
        present = {(hub.interface, hub.nbma_address) for hub in self._hubs}
        self._states = {key: state for key, state in self._states.items() if key in present}
