"""One unreadable item among many from outside: it is skipped, counted, and logged once; the others are served."""

from collections.abc import Hashable
from enum import StrEnum

import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Items remembered as logged, of each source. Whoever sends more different ones only fills the counter.
REMEMBERED = 1000


class ItemSource(StrEnum):
    """Where items come from."""

    CERTIFICATE_CACHE = "certificate_cache"
    IKE_SA = "ike_sa"
    CHARON_EVENT = "charon_event"
    NHRP_CACHE = "nhrp_cache"
    BGP_SESSION = "bgp_session"
    STORED_PEER = "stored_peer"
    STORED_CERTIFICATE = "stored_certificate"


class Unreadable:
    """Counts and logs what is skipped. ``effect`` of each source is what follows for whoever the item is about."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._logged: dict[ItemSource, set[Hashable]] = {}
        for source in ItemSource:
            telemetry.increment(metrics.UNREADABLE, source, by=0)

    def skip(self, source: ItemSource, item: Hashable, why: str) -> None:
        """Note that an item is skipped. ``item``: equal where it is the same one again; it is not shown."""
        self._telemetry.increment(metrics.UNREADABLE, source)
        logged = self._logged.setdefault(source, set())
        if item in logged or len(logged) >= REMEMBERED:
            return
        logged.add(item)
        more = "not logged any more" if len(logged) == REMEMBERED else "the same one is only counted"
        log.warning(
            "item_unreadable",
            source=str(source),
            why=printable(why, 300),
            consequence=_CONSEQUENCES[source],
            more=more,
        )


_CONSEQUENCES = {
    ItemSource.CERTIFICATE_CACHE: "it proves no identity; all others of charon's cache do",
    ItemSource.IKE_SA: "its peer counts as not there; all others are served",
    ItemSource.CHARON_EVENT: "all SAs are read anew",
    ItemSource.NHRP_CACHE: "no peer is treated as gone after this reading of the cache",
    ItemSource.BGP_SESSION: "the state of this session is not known",
    ItemSource.STORED_PEER: "the peer has to register again",
    ItemSource.STORED_CERTIFICATE: "the certificate of this IKE_SA is looked for in charon's cache",
}
