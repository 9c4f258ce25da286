"""An unreadable item from outside is skipped, counted and logged once; the other items are used."""

from collections.abc import Hashable
from enum import StrEnum

import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Items of each source that are remembered as logged. Further ones are only counted.
REMEMBERED = 1000


class ItemSource(StrEnum):
    """Where items come from."""

    CERTIFICATE_CACHE = "certificate_cache"
    IKE_SA = "ike_sa"
    CHARON_EVENT = "charon_event"
    NHRP_CACHE = "nhrp_cache"
    BGP_SESSION = "bgp_session"
    NETLINK = "netlink"
    STORED_PEER = "stored_peer"
    STORED_CERTIFICATE = "stored_certificate"
    KNOWN_PEER = "known_peer"
    HISTORY = "history"
    QUARANTINE = "quarantine"


class Unreadable:
    """Counts and logs the skipped items."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._logged: dict[ItemSource, set[Hashable]] = {}
        for source in ItemSource:
            telemetry.increment(metrics.UNREADABLE, source, by=0)

    def skip(self, source: ItemSource, item: Hashable, why: str) -> None:
        """Count and log a skipped item. ``item`` identifies it, and is not shown."""
        self._telemetry.increment(metrics.UNREADABLE, source)
        logged = self._logged.setdefault(source, set())
        if item in logged or len(logged) >= REMEMBERED:
            return
        logged.add(item)
        more = "further items are only counted" if len(logged) == REMEMBERED else "the same item is only counted"
        log.warning(
            "item_unreadable",
            source=str(source),
            why=printable(why, 300),
            consequence=_CONSEQUENCES[source],
            more=more,
        )


_CONSEQUENCES = {
    ItemSource.CERTIFICATE_CACHE: "this certificate proves no identity; the others in charon's cache do",
    ItemSource.IKE_SA: "its peer counts as absent; the others are served",
    ItemSource.CHARON_EVENT: "the agent reads all SAs again",
    ItemSource.NHRP_CACHE: "the agent treats no peer as gone by this reading of the cache",
    ItemSource.BGP_SESSION: "the state of this session is unknown",
    ItemSource.NETLINK: "this change is noticed only by the next check",
    ItemSource.STORED_PEER: "the peer has to register again",
    ItemSource.KNOWN_PEER: "the peer is shown only while it is there",
    ItemSource.HISTORY: "the history lacks this entry",
    ItemSource.QUARANTINE: "this peer is no longer quarantined: put it into [[policy.maintenance]]",
    ItemSource.STORED_CERTIFICATE: "the bridge looks for the certificate of this IKE_SA in charon's cache",
}
