"""Links: the internet as one bridge, NAT routers, the tunnel interface of each node and the host behind it."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from dmvpn_lab.namespace import Namespace, run
from dmvpn_lab.scenario import GRE, KEY, Address, Node, Router, Scenario

SECOND_GRE, _SECOND_KEY = "gre2", 43
_BRIDGE = "internet"


def make_internet() -> None:
    """The bridge that joins all, in the lab's own network namespace."""
    _batch(f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up")


def attach_router(router: Router, space: Namespace, scenario: Scenario) -> None:
    """Put a router on the internet; its inside is a bridge of its own, for several nodes."""
    _plug(space, router.name, _BRIDGE)
    outside = f"{router.outside}/{scenario.networks.internet.prefixlen}"
    _batch_in(
        space,
        f"address add {outside} dev eth0",
        "link set eth0 up",
        "link add inside type bridge",
        f"address add {router.inside} dev inside",
        "link set inside up",
    )
    space.run("nft", "add table ip nat; add chain ip nat post { type nat hook postrouting priority srcnat; }")
    space.run("nft", "add rule ip nat post oifname eth0 masquerade")


def attach_node(node: Node, space: Namespace, scenario: Scenario, router: Namespace | None) -> None:
    """Put a node on the internet, or behind its router, and make its tunnel interface."""
    if router is None:
        _plug(space, node.name, _BRIDGE)
        address, gateway = f"{node.nbma_address}/{scenario.networks.internet.prefixlen}", ""
    else:
        assert node.behind is not None
        inside = scenario.routers[node.behind].inside
        name = _port(node.name)
        _batch_in(router, f"link add {name} type veth peer name eth0 netns {space.pid}")
        _batch_in(router, f"link set {name} master inside up")
        address, gateway = f"{node.nbma_address}/{inside.network.prefixlen}", f"route add default via {inside.ip}"
    _forward_ipv6(node, space)
    key = _SECOND_KEY if node.second else KEY
    _batch_in(
        space,
        f"address add {address} dev eth0",
        "link set eth0 up",
        gateway,
        *(() if node.managed else _tunnel(GRE, node.nbma_address, node.protocol_addresses, key)),
    )
    if not node.managed and any(address.version == 6 for address in node.protocol_addresses):
        _ask_nhrpd_about_neighbours(space, GRE)
    if (second := scenario.second_at(node.name)) and not node.second:
        _batch_in(
            space,
            f"address add {second.nbma_address}/{scenario.networks.internet.prefixlen} dev eth0",
            *_tunnel(SECOND_GRE, second.nbma_address, (second.protocol_address,), _SECOND_KEY),
        )


def attach_backup(node: Node, space: Namespace, scenario: Scenario, router: Namespace) -> None:
    """Give a node a second uplink, behind a router. It has no default route: the agent makes one for its probes."""
    assert node.backup is not None
    name = f"{_port(node.name)}-b"[:15]
    _batch_in(router, f"link add {name} type veth peer name eth1 netns {space.pid}")
    _batch_in(router, f"link set {name} master inside up")
    inside = scenario.routers[node.backup].inside
    _batch_in(space, f"address add {node.backup_address}/{inside.network.prefixlen} dev eth1", "link set eth1 up")
    # As systemd and most distributions set it, not in a new network namespace: groups that may ping.
    space.run("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")


def _forward_ipv6(node: Node, space: Namespace) -> None:
    if any(lan.version == 6 for lan in node.lans):
        space.run("sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")


def _ask_nhrpd_about_neighbours(space: Namespace, name: str) -> None:
    """Set what docs/ipv6.md tells operators to set, as zebra does not before FRR 10.2.5."""
    probes = (("app", 1), ("ucast", 0), ("mcast", 0))
    space.run("sysctl", "-q", "-w", *(f"net.ipv6.neigh.{name}.{kind}_solicit={number}" for kind, number in probes))


def _tunnel(name: str, local: IPv4Address, addresses: Iterable[Address], key: int) -> tuple[str, ...]:
    return (
        f"link add {name} type gre local {local} key {key} ttl 64",
        # nhrpd up to 10.3 would take the link-local address for its own, and refuse it.
        f"link set {name} addrgenmode none",
        f"link set {name} mtu 1400 up",
        *(f"address add {address}/{address.max_prefixlen} dev {name}" for address in addresses),
    )


def detach_node(node: Node, router: Namespace | None) -> None:
    """Pull a node's cable; the kernel removes an empty namespace only after a while."""
    line = f"link delete {_port(node.name)}"
    if router is None:
        _batch(line)
    else:
        _batch_in(router, line)


def attach_host(node: Node, space: Namespace, host: Namespace) -> None:
    """Put a host behind a node: the node is the first address of each LAN, the host the second."""
    _batch_in(space, f"link add lan0 type veth peer name eth0 netns {host.pid}", "link set lan0 up")
    _batch_in(host, "link set eth0 up")
    for lan in node.lans:
        # Without this, the kernel uses an IPv6 address only after duplicate address detection.
        last = f"/{lan.prefixlen} dev {{}}" + (" nodad" if lan.version == 6 else "")
        _batch_in(space, f"address add {lan[1]}{last.format('lan0')}")
        _batch_in(host, f"address add {lan[2]}{last.format('eth0')}", f"route add default via {lan[1]}")


def _plug(space: Namespace, name: str, bridge: str) -> None:
    port = _port(name)
    _batch(f"link add {port} type veth peer name eth0 netns {space.pid}", f"link set {port} master {bridge} up")


def _port(name: str) -> str:
    return f"v-{name}"[:15]


def _batch(*lines: str) -> None:
    run("ip", "-batch", "-", text="\n".join(lines) + "\n")


def _batch_in(space: Namespace, *lines: str) -> None:
    space.run("ip", "-batch", "-", text="\n".join(line for line in lines if line) + "\n")
