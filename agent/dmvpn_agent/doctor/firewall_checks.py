"""Checks of other firewalls: what one table accepts, another one may drop all the same."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import Unknown
from dmvpn_agent.kernel.firewalls.flows import FirewallView

_NAME = "other firewalls"


def firewall_checks(view: FirewallView | Unknown) -> Iterator[Check]:
    """Yield what other programs drop of what must pass, each with its rule and what opens it."""
    if isinstance(view, Unknown):
        yield unknown(_NAME, view, "`nft -j list ruleset` and `iptables-save` must work")
        return
    for why in view.unread:
        yield Check(_NAME, Level.WARNING, f"cannot be read: {why}", "readable by the doctor",
                    "make the program work, or remove it if the kernel lacks what it needs")  # fmt: skip
    if not view.dropped:
        tables = ", ".join(view.tables) or "no table of another program"
        yield result(_NAME, good=True, found=f"{tables}: nothing certainly dropped of {view.asked} kinds of packets",
                     expected="", do="")  # fmt: skip
    for one in view.dropped:
        yield Check(f"{_NAME}: {one.flow.what}", Level.FAULT if one.flow.vital else Level.WARNING,
                    f"dropped by {one.rule}", "accepted (docs/firewalls.md)", one.do)  # fmt: skip
