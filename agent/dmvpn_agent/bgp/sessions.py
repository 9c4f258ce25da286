"""bgpd's sessions, from its summary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.frr.show_json import MALFORMED, FrrFormatError, json_object, raise_format_error
from dmvpn_agent.runtime import json_values as typed

#: The state of a session that is up.
ESTABLISHED = "Established"


@dataclass(frozen=True, slots=True)
class Session:
    """A row of ``show bgp ipv4 unicast summary json``; ``prefixes`` is the number of accepted ones.

    ``prefixes_ipv6``: of IPv6, from the summary of that family; ``None`` if the session does not exchange them.

    ``dynamic``: accepted by a ``bgp listen range``, without a configured neighbor. ``since``: when an established one
    came up. ``drops``: how often it went down since bgpd knows the neighbor. ``filtered``: how often its filter
    refused a route since it was written; ``None`` unless the session is up and no prefix was accepted.
    """

    state: str
    prefixes: int
    dynamic: bool = False
    since: datetime | None = None
    drops: int = 0
    filtered: int | None = None
    prefixes_ipv6: int | None = None

    @property
    def over_limit(self) -> bool:
        """Tell whether bgpd keeps the session down because the neighbor exceeded its ``maximum-prefix``."""
        return self.state == "Idle (PfxCt)"


def _session(row: Mapping[str, Any]) -> Session:
    state = typed.text(row["state"])
    up_at = typed.integer(row.get("peerUptimeEstablishedEpoch", 0)) if state == ESTABLISHED else 0
    return Session(
        state,
        typed.integer(row.get("pfxRcd", 0)),
        row.get("dynamicPeer") is True,
        datetime.fromtimestamp(up_at, UTC) if up_at > 0 else None,
        typed.integer(row.get("connectionsDropped", 0)),
    )


def with_ipv6(sessions: Mapping[Address, Session], others: Mapping[Address, Session]) -> Mapping[Address, Session]:
    """Return the sessions of the IPv4 summary with what the IPv6 summary shows of the same neighbors."""
    return {
        address: replace(session, prefixes_ipv6=others[address].prefixes) if address in others else session
        for address, session in sessions.items()
    }


_SUMMARY = "show bgp ipv4 unicast summary json"


def parse_bgp_summary(text: str, skip: Callable[[str], None] = raise_format_error) -> Mapping[Address, Session]:
    """Read ``show bgp ipv4 unicast summary json``; unnumbered neighbors are ignored.

    ``skip`` is called with the reason for each unreadable row; the default raises. Raises ``FrrFormatError``.
    """
    peers = json_object(text, _SUMMARY).get("peers", {})
    if not isinstance(peers, dict):
        raise FrrFormatError(f"{_SUMMARY}: peers is not an object")
    sessions: dict[Address, Session] = {}
    for name, item in peers.items():
        try:
            row = typed.mapping(item)
            if row.get("idType") != "interface":
                sessions[ip_address(name)] = _session(row)
        except MALFORMED as error:
            skip(f"{_SUMMARY}: unexpected row ({type(error).__name__} {error}): {name!r:.60}")
    return sessions
