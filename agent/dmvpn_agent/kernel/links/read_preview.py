"""Reads what differs at the tunnel interfaces, for the commands that change nothing and for ``reset``."""

import asyncio
from collections.abc import Iterable, Mapping

from dmvpn_agent.kernel.links.changes import LinkChange, RemoveAddress, RemoveLink
from dmvpn_agent.kernel.links.kernel_links import TIMEOUT, KernelLinks, LinkError
from dmvpn_agent.kernel.links.preview import LinkPreview, preview
from dmvpn_agent.kernel.links.problem import unreadable
from dmvpn_agent.kernel.links.settings import TunnelSettings


async def read_preview(tunnels: Mapping[str, TunnelSettings]) -> LinkPreview:
    """Read the kernel and return what differs; if it cannot be read, that is the problem."""
    if not any(settings.wants_anything for settings in tunnels.values()):
        return LinkPreview({})
    try:
        async with asyncio.timeout(TIMEOUT):
            return preview(tunnels, await KernelLinks().observe(tunnels.values()))
    except LinkError as error:
        return LinkPreview({}, problems=(error.problem,))
    except TimeoutError:
        return LinkPreview({}, problems=(unreadable("netlink", f"no answer within {TIMEOUT:g} s"),))


async def own_changes(tunnels: Iterable[str]) -> tuple[LinkChange, ...]:
    """Return the changes that remove what the agent made: interfaces, and addresses at interfaces of the operator's.

    Raises ``LinkError``.
    """
    found = (await KernelLinks().observe(())).links
    made = [RemoveLink(name) for name, link in found.items() if link.ours and link.kind == "gre"]
    added = [
        RemoveAddress(name, address)
        for name in tunnels
        if name in found and not found[name].ours
        for address in sorted(found[name].marked, key=str)
    ]
    return *made, *added
