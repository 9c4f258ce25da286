"""What differs at the tunnel interfaces now, for the commands that change nothing."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dmvpn_agent.kernel.links.changes import LinkChange, RemoveAddress, RemoveLink, commands
from dmvpn_agent.kernel.links.kernel_links import TIMEOUT, KernelLinks, LinkError
from dmvpn_agent.kernel.links.observed import Observed
from dmvpn_agent.kernel.links.plan import LinkPlan, plan
from dmvpn_agent.kernel.links.problem import LinkProblem, unreadable
from dmvpn_agent.kernel.links.settings import TunnelSettings


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """The plan of each configured tunnel interface. ``would_change``: those that the agent manages, as commands."""

    plans: Mapping[str, LinkPlan]
    would_change: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    problems: tuple[LinkProblem, ...] = ()


def preview(tunnels: Mapping[str, TunnelSettings], observed: Observed) -> LinkPreview:
    """Return what differs."""
    plans = {name: plan(settings, observed) for name, settings in tunnels.items() if settings.wants_anything}
    managed, other = (
        tuple(
            line
            for name, found in plans.items()
            if tunnels[name].manages is manages
            for change in found.changes
            for line in commands(change)
        )
        for manages in (True, False)
    )
    return LinkPreview(plans, managed, other, tuple(one for found in plans.values() for one in found.problems))


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
