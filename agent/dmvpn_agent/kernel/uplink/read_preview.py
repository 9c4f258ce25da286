"""What the agent would change for the uplinks at its start, for ``plan``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from dmvpn_agent.kernel.links.kernel_links import KernelLinks, LinkError
from dmvpn_agent.kernel.links.observed import ObservedLink
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables, RoutesError
from dmvpn_agent.kernel.routes.tables import plan
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import UplinkSettings
from dmvpn_agent.kernel.uplink.uplink_tables import uplink_tables


@dataclass(frozen=True, slots=True)
class UplinkPreview:
    """``changes``: as text. ``trouble``: why the kernel could not be read."""

    changes: tuple[str, ...] = ()
    trouble: str | None = None


async def read_preview(settings: UplinkSettings | None) -> UplinkPreview:
    """Read the kernel and return what the agent would change before it has sent a probe."""
    if settings is None:
        return UplinkPreview()
    try:
        links = (await KernelLinks().observe(())).links
        conditions = {one.interface: _condition(links.get(one.interface)) for one in settings.uplinks}
        seen = await NetlinkTables().observe()
        routes = plan(uplink_tables(settings, conditions, seen.defaults), seen.own)
    except (LinkError, RoutesError) as error:
        return UplinkPreview(trouble=str(error))
    return UplinkPreview((*map(str, routes), *_moves(settings, links, conditions)))


def _condition(link: ObservedLink | None) -> Condition:
    if link is None:
        return Condition()
    addresses = (address for address in link.addresses if isinstance(address, IPv4Interface))
    return Condition(min(addresses, default=None), link.up, link.direct)


def _moves(
    settings: UplinkSettings, links: Mapping[str, ObservedLink], conditions: Mapping[str, Condition]
) -> Iterator[str]:
    """Yield the tunnels that have the address of no uplink: they get that of the first one."""
    addresses = [one.address.ip for one in conditions.values() if one.address is not None and one.running]
    for name in settings.tunnels:
        link = links.get(name)
        if link is not None and link.gre is not None and addresses and link.gre.local not in addresses:
            yield f"set local address {addresses[0]} of {name}, which has {link.gre.local or 'none'}"
