"""The redirect rule's gauges."""

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.redirect import RedirectKeeper
from dmvpn_agent.runtime.telemetry import Telemetry


def observe_redirect(telemetry: Telemetry, keeper: RedirectKeeper) -> None:
    """Export whether the redirect rule is in place, and how many packets it logged."""
    telemetry.observe(metrics.REDIRECT_INSTALLED, lambda: keeper.installed)
    telemetry.observe(metrics.REDIRECT_PACKETS, lambda: keeper.packets)
