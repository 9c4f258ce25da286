"""The parameters of a GRE interface in the link data that pyroute2 decodes.

pyroute2 decodes the data of some kinds of interface only; other data has no parameters.
"""

from ipaddress import ip_address
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel.events import GreKeys

#: linux/if_tunnel.h: the tunnel has a key.
GRE_KEY = 0x2000


def end(data: Any, which: str) -> Address | None:
    """Return the address at one end, ``LOCAL`` or ``REMOTE``; ``None`` for 0.0.0.0 or ::, and without one."""
    text = data.get_attr(f"IFLA_GRE_{which}") if hasattr(data, "get_attr") else None
    address = ip_address(text) if text else None
    return None if address is None or address.is_unspecified else address


def keys(data: Any) -> GreKeys:
    """Return the keys of the packets that the interface receives and that it sends."""
    return _key(data, "I"), _key(data, "O")


def _key(data: Any, way: str) -> int | None:
    if not hasattr(data, "get_attr"):
        return None
    flags = data.get_attr(f"IFLA_GRE_{way}FLAGS")
    number = int(flags["value"] if isinstance(flags, dict) else flags or 0)
    return (data.get_attr(f"IFLA_GRE_{way}KEY") or 0) if number & GRE_KEY else None
