"""bgpd's sessions, from its summary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from dmvpn_agent.addresses import Address
from dmvpn_agent.frr.show_json import MALFORMED, FrrFormatError, json_object, raise_format_error
from dmvpn_agent.runtime import json_values as typed


@dataclass(frozen=True, slots=True)
class Session:
    """A row of ``show bgp ipv4 unicast summary json``; ``prefixes`` is the number of accepted ones.

    ``dynamic``: accepted by a ``bgp listen range``, without a configured neighbor.
    """

    state: str
    prefixes: int
    dynamic: bool = False

    @property
    def over_limit(self) -> bool:
        """Tell whether bgpd keeps the session down because the neighbor exceeded its ``maximum-prefix``."""
        return self.state == "Idle (PfxCt)"


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
                sessions[ip_address(name)] = Session(
                    typed.text(row["state"]), typed.integer(row.get("pfxRcd", 0)), row.get("dynamicPeer") is True
                )
        except MALFORMED as error:
            skip(f"{_SUMMARY}: unexpected row ({type(error).__name__} {error}): {name!r:.60}")
    return sessions
