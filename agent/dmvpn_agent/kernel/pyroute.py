"""Loads pyroute2, with the netlink attributes that older versions of it do not know."""

import asyncio
from importlib import import_module
from typing import Any

#: By message: what follows the last attribute that pyroute2 0.9.1, Alpine 3.23's version, knows.
_LATER_ATTRIBUTES = {
    "ifaddrmsg": (("IFA_RT_PRIORITY", "uint32"), ("IFA_TARGET_NETNSID", "uint32"), ("IFA_PROTO", "uint8")),
    "ndmsg": (("NDA_PROTOCOL", "uint8"),),
}


async def load_pyroute2() -> Any:
    """Return the module. The import takes 0.2 s, so it is done in a thread: nhrpd gets answers in the meantime."""
    return await asyncio.to_thread(_load)


def _load() -> Any:
    pyroute2 = import_module("pyroute2")
    for name, attributes in _LATER_ATTRIBUTES.items():
        message = getattr(import_module(f"pyroute2.netlink.rtnl.{name}"), name)
        known = [attribute[0] for attribute in message.nla_map]
        if attributes[-1][0] not in known:  # an attribute's number is its place in the list
            message.nla_map = (*message.nla_map, *attributes)
    return pyroute2
