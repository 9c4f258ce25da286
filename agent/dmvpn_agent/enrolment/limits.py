"""How often clients and nodes may ask, and how many refusals the registry's log takes."""

from ipaddress import IPv6Address, IPv6Network
from threading import Lock

from dmvpn_agent.enrolment.rate_limit import RateLimit
from dmvpn_agent.runtime.clocks import Seconds

#: A source may send a minute's requests at once.
_MINUTE = 60.0
#: Certificates that a node may have at once, and in how many seconds one more: renewals that fail at the node's end.
NODE_BURST, NODE_SECONDS = 10, 120.0
#: Refusals that the registry's log takes at once, and in how many seconds one more: strangers must not fill it.
RECORD_BURST, RECORD_SECONDS = 100, 60.0


class Limits:
    """The limits of one server; its threads share them. ``per_minute``: requests of one address."""

    def __init__(self, per_minute: int, now: Seconds) -> None:
        self._now = now
        self._lock = Lock()
        self._sources = RateLimit(per_minute / _MINUTE, per_minute)
        self._nodes = RateLimit(1 / NODE_SECONDS, NODE_BURST)
        self._records = RateLimit(1 / RECORD_SECONDS, RECORD_BURST)

    def admits_source(self, source: str) -> bool:
        """Count a request from an address; of IPv6, all of a /64 count as one."""
        return self._admits(self._sources, _network(source))

    def admits_node(self, name: str) -> bool:
        """Count a certificate for a node."""
        return self._admits(self._nodes, name)

    def admits_record(self) -> bool:
        """Count a refusal, or a repetition, that is written into the registry."""
        return self._admits(self._records, "")

    def _admits(self, limit: RateLimit, source: str) -> bool:
        with self._lock:
            return limit.admits(source, self._now())


def _network(source: str) -> str:
    try:
        address = IPv6Address(source.partition("%")[0])
    except ValueError:
        return source
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((int(address) >> 64 << 64, 64)))
