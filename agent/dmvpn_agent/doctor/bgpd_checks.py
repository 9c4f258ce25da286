"""Checks of bgpd's configuration."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, unknown
from dmvpn_agent.doctor.node import Expected, NodeView, Unknown


def bgpd_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of bgpd, if the agent manages BGP."""
    if expected.bgp_ipv6 is False and expected.has_ipv6:
        yield Check("bgp.ipv6", Level.WARNING, "false: the sessions exchange no IPv6 prefixes",
                    "true, because a tunnel network is IPv6",
                    "set bgp.ipv6 = true, and FRR as in frr/hub-ipv6.conf or frr/spoke-ipv6.conf")  # fmt: skip
    if isinstance(node.bgp, Unknown):
        yield unknown("bgpd", node.bgp, "set bgpd=yes in /etc/frr/daemons, and start FRR")
    elif node.bgp is not None:
        for problem in node.bgp:
            level = Level.FAULT if problem.serious else Level.WARNING
            yield Check("bgpd", level, problem.found, "the configuration that the agent's neighbors need", problem.do)
        if not node.bgp:
            yield Check("bgpd", Level.OK, "configured for the agent")
