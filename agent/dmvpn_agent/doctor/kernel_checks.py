"""Checks of the kernel: tunnel interfaces, forwarding, routes and nftables."""

from collections.abc import Iterator, Mapping

from dmvpn_agent.addresses import Network
from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import FAMILIES, GUARD_TITLE, Expected, LinkView, NodeView, Unknown
from dmvpn_agent.kernel.iptables.chain import CHAIN, REMEDY, TABLE, ChainState, matches
from dmvpn_agent.kernel.links.changes import commands
from dmvpn_agent.kernel.links.preview import LinkPreview


def tunnel_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of the tunnel interfaces."""
    if isinstance(node.links, Unknown):
        yield unknown("tunnel interfaces", node.links, "install iproute2: `ip -json -details address` must work")
        return
    for name in expected.tunnels:
        yield from _tunnel(name, node.links.get(name), expected, configured=name in node.tunnels.plans)
        if 6 in expected.ip_versions[name]:
            yield from _neighbours(name, node.neighbours)
    yield from _configured(node.tunnels)


def _configured(tunnels: LinkPreview) -> Iterator[Check]:
    """Check that the tunnel interfaces are as in ``[tunnel.NAME]``."""
    for problem in tunnels.problems:
        yield Check(f"tunnel.{problem.interface}", Level.FAULT, problem.found, "as in agent.toml", problem.do)
    for name, plan in tunnels.plans.items():
        lines = [line for change in plan.changes for line in commands(change)]
        yield result(f"tunnel.{name}", not lines, f"{len(lines)} differences" if lines else "as configured",
                     f"as in tunnel.{name}; with manage = true the agent keeps it so", "; ".join(lines))  # fmt: skip


def _tunnel(name: str, link: LinkView | None, expected: Expected, *, configured: bool) -> Iterator[Check]:
    wanted = "a GRE interface, up, with an address"
    do = f"configure {name} in the system's network configuration, as the head of frr/hub.conf shows"
    if configured:
        do = (f"if tunnel.{name}.manage is true, the agent makes it, and `dmvpn-agent status` says what prevents that"
              f" (a kernel without GRE needs: modprobe ip_gre); otherwise see tunnel.{name} below")  # fmt: skip
    if link is None:
        yield Check(f"interface {name}", Level.FAULT, "missing", wanted, do)
        return
    found = f"{link.kind}, {'up' if link.up else 'down'}, {', '.join(link.addresses) or 'no address'}"
    yield result(f"interface {name}", link.kind == "gre" and link.up and bool(link.addresses), found, wanted, do)
    if expected.multicast_group is not None:
        yield result(f"multicast on {name}", link.multicast, "on" if link.multicast else "off",
                     "on: routing protocols refuse the interface otherwise",
                     f"tunnel.{name}.multicast = true, or: ip link set {name} multicast on")  # fmt: skip
    if 6 in expected.ip_versions[name]:
        yield _ipv6_addresses(name, link)
    if len(expected.tunnels) > 1:
        yield result(f"key of {name}", link.key is not None, link.key or "none",
                     "a key, by which the kernel distinguishes the tunnels",
                     f"create {name} with `key N`, the same on all nodes of that DMVPN", Level.WARNING)  # fmt: skip


def _neighbours(name: str, neighbours: Mapping[str, str] | Unknown) -> Iterator[Check]:
    if isinstance(neighbours, Unknown):
        yield unknown(f"IPv6 neighbours of {name}", neighbours, "mount /proc/sys")
    elif name in neighbours:
        missing = neighbours[name]
        yield result(f"IPv6 neighbours of {name}", not missing,
                     "the kernel asks them by itself" if missing else "the kernel asks nhrpd",
                     "the kernel asks nhrpd about old entries, as for IPv4: otherwise it drops others' packets after"
                     " 40 s. zebra sets this from FRR 10.2.5, 10.3.3, 10.4.2 and 10.5 on", missing)  # fmt: skip


def _ipv6_addresses(name: str, link: LinkView) -> Check:
    """Check the address that nhrpd uses as its IPv6 protocol address.

    Up to FRR 10.3 that is the address with the shortest prefix.
    """
    addresses = [address for address in (*link.addresses, *link.link_local) if ":" in address]
    good = len(addresses) == 1 and addresses[0].endswith("/128")
    return result(f"IPv6 addresses of {name}", good, ", ".join(addresses) or "none",
                  "one /128 and no other: nhrpd up to FRR 10.3 chooses a link-local address first, and refuses it",
                  f"ip link set {name} addrgenmode none, before the interface is up; ip address add"
                  f" PROTOCOL-ADDRESS/128 dev {name}")  # fmt: skip


def kernel_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of forwarding, routes and the agent's nftables table."""
    yield _forwarding("forwarding", node.forwards, "net.ipv4.ip_forward")
    if expected.bgp_ipv6 or expected.has_ipv6:
        yield _forwarding("forwarding of IPv6", node.forwards_ipv6, "net.ipv6.conf.all.forwarding")
    yield from _routes(node.routes, expected)
    for title, objects in expected.sections.items():
        if title == GUARD_TITLE and node.guard_refusal:
            continue  # see guard_checks
        if not isinstance(node.refusals, Unknown) and title in node.refusals:
            why, do = node.refusals[title]
            yield Check(title, Level.FAULT, f"refused by nft: {why}", "in table inet dmvpn_agent", do)
            continue
        if isinstance(node.table, Unknown):
            yield unknown(title, node.table, "install nftables, the kernel needs nf_tables, nft_log and nft_fib_inet;"
                          f" or turn the {title} off: iptables cannot have it")  # fmt: skip
        else:
            there = objects <= node.table
            yield result(title, there, "installed" if there else "missing",
                         "in table inet dmvpn_agent", "start dmvpn-agent, which installs it")  # fmt: skip
    yield from _iptables(node.iptables, expected)


def _iptables(state: ChainState | Unknown, expected: Expected) -> Iterator[Check]:
    """Check the agent's chains of iptables."""
    for version, chain in expected.chains.items():
        title = f"chain of {'iptables' if version == 4 else 'ip6tables'}"
        if isinstance(state, Unknown):
            yield unknown(title, state, REMEDY)
            continue
        there = matches(chain, state.chains.get(version))
        yield result(title, there, f"{'installed' if there else 'missing, or not as desired'} ({state.variant})",
                     f"chain {CHAIN} of table {TABLE} with {len(chain.rules)} rules, and one jump to it from"
                     f" {' and '.join(chain.hooks)}", "start dmvpn-agent, which installs it")  # fmt: skip


def _forwarding(name: str, forwards: bool | Unknown, setting: str) -> Check:
    if isinstance(forwards, Unknown):
        return unknown(name, forwards, "mount /proc/sys")
    return result(name, forwards, "on" if forwards else "off", "on, because the node is a router",
                  f"sysctl -w {setting}=1; a line in /etc/sysctl.d sets it at each boot")  # fmt: skip


def _routes(routes: Mapping[Network, str] | Unknown, expected: Expected) -> Iterator[Check]:
    if isinstance(routes, Unknown):
        yield unknown("routes", routes, "install iproute2: `ip -json route` must work")
        return
    for network in expected.announced:
        yield result(f"route to {network}", network in routes, routes.get(network, "none"),
                     "a route to exactly this network: without it bgpd does not announce the network, and packets for"
                     " an absent peer take the default route",
                     f"in frr.conf: {FAMILIES[network.version]} route {network} blackhole. FRR drops the line without"
                     " a message if mgmtd (FRR 10 and later) does not start before zebra and staticd")  # fmt: skip
