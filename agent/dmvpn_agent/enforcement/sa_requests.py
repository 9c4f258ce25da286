"""Asks charon for an IKE_SA with a peer: when it can, and with nothing of a killed charon in the way."""

from enum import Enum, auto
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.enforcement.sa_terminator import Sas
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class LoadedSas(Sas, Protocol):
    """charon's IKE_SAs, and its connections."""

    def has_connection(self, interface: str) -> bool:
        """Tell whether charon had the connection of a tunnel interface when it was last read."""


class Reconnector(Protocol):
    """Asks charon to initiate an IKE_SA."""

    async def initiate(self, interface: str, local: Address, remote: Address) -> None:
        """Initiate the connection of a tunnel interface between two NBMA addresses.

        Raises ``CharonLost``, ``CommandFailed``.
        """


class Asked(Enum):
    """What became of a request."""

    #: charon or the bridge took it; whether the peer answers is another matter.
    SENT = auto()
    #: It was refused; another peer's may not be.
    REFUSED = auto()
    #: charon is away, or has not loaded the connection: no request can succeed now.
    AWAY = auto()


class SaRequests:
    """``stale``: what a killed charon left in the kernel."""

    def __init__(self, sas: LoadedSas, reconnector: Reconnector, stale: StaleSas, telemetry: Telemetry) -> None:
        self._sas = sas
        self._reconnector = reconnector
        self._stale = stale
        self._telemetry = telemetry

    async def ask(self, interface: str, local: Address, remote: Address) -> Asked:
        """Ask for an IKE_SA between two NBMA addresses for a tunnel interface."""
        try:
            # A connection that is loaded raises no event. An SA that the kernel requests before is refused, and no
            # other one is requested for 30 s (xfrm_acq_expires).
            if not self._sas.has_connection(interface):
                await self._sas.refresh()
            if not self._sas.has_connection(interface):
                return Asked.AWAY
            self._stale.remove(local, remote)
            await self._reconnector.initiate(interface, local, remote)
        except (CharonLost, CommandFailed) as error:
            self._telemetry.increment(metrics.INVITATIONS, "failed")
            log.warning(
                "not_invited", nbma_address=str(remote), why=str(error), consequence="the agent tries again later"
            )
            return Asked.AWAY if isinstance(error, CharonLost) else Asked.REFUSED
        self._telemetry.increment(metrics.INVITATIONS, "sent")
        return Asked.SENT
