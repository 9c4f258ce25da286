"""By which interface packets from the node's NBMA addresses leave, and whether the kernel takes the answers in.

The kernel itself is asked: ``ip route get`` evaluates rules, routing tables and ``rp_filter``.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from dmvpn_agent.doctor.node import SOMEWHERE, STRICT, LinkView, NbmaRoute, Unknown
from dmvpn_agent.kernel.uplink.settings import Uplink, UplinkSettings
from dmvpn_agent.runtime import json_values as typed
from dmvpn_agent.runtime.program import Completed, run

TIMEOUT, MAX_OUTPUT = 5.0, 1 << 20
#: Interfaces that no packet leaves by: their addresses are reached by any uplink.
_WITHOUT_WIRE = frozenset({"dummy", "loopback"})


async def read_rp_filters(interfaces: Iterable[str]) -> dict[str, int]:
    """Return the ``rp_filter`` in force of the interfaces that exist. Raises ``OSError`` and ``ValueError``."""
    conf = Path("/proc/sys/net/ipv4/conf")
    general = int((conf / "all/rp_filter").read_text())
    files = {name: conf / name / "rp_filter" for name in interfaces}
    return {name: max(general, int(file.read_text())) for name, file in files.items() if file.exists()}


async def read_nbma_routes(
    settings: UplinkSettings | None, links: Mapping[str, LinkView] | Unknown
) -> tuple[NbmaRoute, ...]:
    """Return the routes of the first address of each uplink, and of the tunnels' own NBMA addresses.

    ``links``: the node's interfaces. Raises ``ValueError``.
    """
    uplinks = {one.interface: one.targets[0].address if one.targets else None for one in _uplinks(settings)}
    own = set() if isinstance(links, Unknown) else {link.local for link in links.values() if link.kind == "gre"}
    routes = []
    for name, addresses in _addresses(await _ip("-4", "-details", "address")).items():
        wanted = addresses[:1] if name in uplinks else [one for one in addresses if str(one) in own]
        routes += [await _route(name, address, uplinks.get(name) or SOMEWHERE) for address in wanted]
    return tuple(routes)


def _uplinks(settings: UplinkSettings | None) -> tuple[Uplink, ...]:
    return settings.uplinks if settings else ()


async def _route(interface: str, address: IPv4Address, far: IPv4Address) -> NbmaRoute:
    out = await _leaves_by("route", "get", str(far), "from", str(address))
    strict = (await read_rp_filters((interface,))).get(interface) == STRICT
    # The kernel's error differs by version: EXDEV, or EINVAL since Linux 6.13.
    refused = strict and await _leaves_by("route", "get", str(address), "from", str(far), "iif", interface) is None
    return NbmaRoute(interface, str(address), str(far), out or "", refused)


async def _leaves_by(*words: str) -> str | None:
    """Return the interface of a route, ``None`` if there is none."""
    done = await _ip(*words)
    if done.status != 0:
        return None
    try:
        (route,) = typed.items(typed.document(done.stdout))
        return str(typed.mapping(route).get("dev", ""))
    except (TypeError, ValueError) as error:
        raise ValueError(f"ip printed no route: {error!r}") from error


async def _ip(*words: str) -> Completed:
    return await run(("ip", "-json", *words), timeout=TIMEOUT, max_output=MAX_OUTPUT)


def _addresses(listed: Completed) -> dict[str, list[IPv4Address]]:
    """Return the addresses of the interfaces that packets leave by and that are in no VRF or bridge."""
    if listed.status != 0:
        raise ValueError(f"ip address: {listed.message}")
    try:
        return {
            typed.text(link["ifname"]): list(_global_addresses(link))
            for link in typed.items(typed.document(listed.stdout))
            if "ifname" in link and "master" not in link
            and not _WITHOUT_WIRE & {link.get("link_type"), link.get("linkinfo", {}).get("info_kind")}
        }  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"ip printed no interfaces: {error!r}") from error


def _global_addresses(link: Mapping[str, Any]) -> Iterator[IPv4Address]:
    for one in link.get("addr_info", ()):
        address = ip_address(one["local"])
        if one["scope"] == "global" and isinstance(address, IPv4Address):
            yield address
