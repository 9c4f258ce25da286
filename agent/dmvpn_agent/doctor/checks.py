"""All checks of a node, computed from what was read of it."""

from dmvpn_agent.doctor.bgpd_checks import bgpd_checks
from dmvpn_agent.doctor.charon_checks import charon_checks, trap_checks
from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.clock_checks import clock_checks
from dmvpn_agent.doctor.firewall_checks import firewall_checks
from dmvpn_agent.doctor.guard_checks import guard_checks
from dmvpn_agent.doctor.kernel_checks import kernel_checks, tunnel_checks
from dmvpn_agent.doctor.mtu_checks import mtu_checks
from dmvpn_agent.doctor.nhrpd_checks import nhrpd_checks
from dmvpn_agent.doctor.node import Expected, NodeView
from dmvpn_agent.doctor.route_checks import source_routing_checks
from dmvpn_agent.doctor.running_checks import running_checks
from dmvpn_agent.doctor.socket_checks import port_checks, socket_checks
from dmvpn_agent.doctor.trust_checks import trust_checks
from dmvpn_agent.doctor.unfinished_checks import hub_name_checks, mutual_hub_checks, placeholder_checks


def check_node(node: NodeView, expected: Expected) -> tuple[Check, ...]:
    """Return every check, in the order in which to fix the faults."""
    return (
        *(Check(f"version of {name}", Level.OK, version) for name, version in node.versions.items()),
        *placeholder_checks(node.placeholders),
        *running_checks(node.running),
        *clock_checks(node.clock, node.now),
        *charon_checks(node, expected),
        *trap_checks(node, expected),
        *socket_checks(node),
        *nhrpd_checks(node.nhrpd, expected),
        *hub_name_checks(node.unresolved_hubs),
        *mutual_hub_checks(node.mutual_hubs),
        *tunnel_checks(node, expected),
        *mtu_checks(node, expected),
        *kernel_checks(node, expected),
        *firewall_checks(node.firewalls),
        *source_routing_checks(node, expected),
        *guard_checks(node, expected),
        *trust_checks(node, expected),
        *bgpd_checks(node, expected),
        *port_checks(node, expected),
    )
