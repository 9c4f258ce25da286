"""What differs at the tunnel interfaces now."""

from collections.abc import Mapping
from dataclasses import dataclass

from dmvpn_agent.kernel.links.changes import commands
from dmvpn_agent.kernel.links.observed import Observed
from dmvpn_agent.kernel.links.plan import LinkPlan, plan
from dmvpn_agent.kernel.links.problem import LinkProblem
from dmvpn_agent.kernel.links.settings import TunnelSettings


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """The plan of each configured tunnel interface. ``would_change``: those that the agent manages, as commands."""

    plans: Mapping[str, LinkPlan]
    would_change: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    problems: tuple[LinkProblem, ...] = ()


#: No tunnel interface is configured.
NO_LINKS = LinkPreview({})


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
