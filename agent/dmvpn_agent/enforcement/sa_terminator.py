"""Ends IKE_SAs for all callers, and checks that they are gone. There is a back-off for denials and readmissions.

The trap policy of a peer brings its tunnel up again at once: without back-off a denied peer would reconnect without
a pause. Registrations that are missing have ``Patience`` instead.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.runtime.backoff import Backoff
from dmvpn_agent.runtime.clocks import Uptime, in_seconds
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds until a peer's IKE_SA may be ended again: at first, and at most.
FIRST_INTERVAL, LONGEST_INTERVAL = 5.0, 600.0
#: After so many seconds without an end the interval is the first one again; in a dry run, between two reports.
FORGIVEN = 3600.0

#: This cause has a back-off of its own: the peer is acceptable now.
READMITTED = "readmitted"
#: NBMA address, IKE identity, and the cause; all denials share one.
_Key = tuple[Address, str, str]


class Sas(Protocol):
    """charon's IKE_SAs."""

    @property
    def ike_sas(self) -> tuple[IkeSa, ...]:
        """Return all of charon's IKE_SAs as last read: another tuple after each read."""

    def our_sas(self) -> Iterator[IkeSa]:
        """Yield the DMVPN's established IKE_SAs as last read."""

    def sas_at(self, address: Address) -> tuple[IkeSa, ...]:
        """Return those with an NBMA address."""

    def sas_of(self, interface: str, address: Address) -> tuple[IkeSa, ...]:
        """Return those with an NBMA address in the connection of a tunnel interface."""

    async def refresh(self) -> None:
        """Read them again. Raises ``CharonLost``."""

    async def end(self, sa: IkeSa) -> None:
        """End an IKE_SA. Raises ``CharonLost``, ``CommandFailed``."""


def own_sas(sas: Sas, request: BindingRequest) -> list[IkeSa]:
    """Return the IKE_SAs of the peer of a request."""
    present = sas.sas_of(request.interface, request.nbma_address)
    return [sa for sa in present if is_sa_of(sa, request, present)]


class SaTerminator:
    """Terminates IKE_SAs in charon. In a ``dry_run`` it only logs each, once in an hour."""

    def __init__(self, sas: Sas, telemetry: Telemetry, clock: Uptime, *, dry_run: bool = False) -> None:
        self._sas = sas
        self._telemetry = telemetry
        self._clock = in_seconds(clock)
        self._dry_run = dry_run
        self._backoffs: dict[_Key, Backoff] = {}

    def may_terminate(self, sa: IkeSa, cause: str = "") -> bool:
        """Tell whether the back-off of a peer and a cause is over."""
        backoff = self._backoffs.get(_key(sa, cause))
        return backoff is None or backoff.delay == 0

    def reset_backoff(self, sa: IkeSa) -> None:
        """Reset the back-off of a denied peer, because the cause of its denial has ended.

        The back-off of ``READMITTED`` stays: nhrpd may ask with data of before, and the peer is denied again.
        """
        self._backoffs.pop(_key(sa, ""), None)

    async def end(self, sas: Mapping[IkeSa, str]) -> None:
        """End IKE_SAs, each for its cause, and check once that they are gone. Failures are logged and counted."""
        if self._dry_run:
            sas = {sa: cause for sa, cause in sas.items() if self.may_terminate(sa, cause)}
        self._back_off({_key(sa, cause) for sa, cause in sas.items()})
        if self._dry_run:
            for sa, cause in sas.items():
                log.info("would_end_ike_sa", **_about(sa, cause))
        elif sas:
            failures = {sa: why for sa in sas if (why := await self._try_to_end(sa))}
            trouble = await self._try_to_refresh()
            for sa, cause in sas.items():
                self._report(sa, cause, trouble or failures.get(sa) or "charon still lists it")

    async def _try_to_end(self, sa: IkeSa) -> str | None:
        try:
            await self._sas.end(sa)
        except (CharonLost, CommandFailed) as error:
            return str(error)
        return None

    async def _try_to_refresh(self) -> str | None:
        try:
            await self._sas.refresh()
        except CharonLost as error:
            return str(error)
        return None

    def _report(self, sa: IkeSa, cause: str, failure: str) -> None:
        gone = sa.unique_id not in {other.unique_id for other in self._sas.sas_at(sa.remote_host)}
        self._telemetry.increment(metrics.IKE_SAS_ENDED, cause, "gone" if gone else "failed")
        if gone:
            log.warning("ike_sa_ended", **_about(sa, cause))
        else:
            log.error("ike_sa_not_ended", **_about(sa, cause), why=failure, consequence="the agent tries again later")

    def _back_off(self, keys: Set[_Key]) -> None:
        first, longest = (FORGIVEN, FORGIVEN) if self._dry_run else (FIRST_INTERVAL, LONGEST_INTERVAL)
        self._backoffs = {key: one for key, one in self._backoffs.items() if not one.settled}
        for key in keys:
            backoff = self._backoffs.setdefault(key, Backoff(first, longest, lasting=FORGIVEN, clock=self._clock))
            backoff.failed()
            backoff.begin()


def _about(sa: IkeSa, cause: str) -> dict[str, Any]:
    return {
        "cause": cause,
        "remote_id": sa.remote_id,
        "nbma_address": str(sa.remote_host),
        "ike_id": sa.unique_id,
    }


def _key(sa: IkeSa, cause: str) -> _Key:
    return sa.remote_host, sa.remote_id, "" if isinstance(cause, Reason) else cause
