"""A bundle, a machine and a node for the tests of setup."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import bundles
from dmvpn_agent.setup.answers import Answers
from dmvpn_agent.setup.bundle import Bundle, read_bundle
from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.node import Hub, Node
from dmvpn_agent.setup.plan import FRR_NEEDED
from dmvpn_agent.setup.system import File, Manager, Services, System, TunnelBy, Uplink

HUB_ANSWER = (Hub("203.0.113.1", IPv4Address("10.255.0.1")),)
ANSWERS = Answers(hubs=HUB_ANSWER)
DAEMONS = b"bgpd=no\nospfd=no\nnhrpd=no\nvtysh_enable=yes\n"

#: The folders of the packages.
_PACKAGED = (
    "/etc/swanctl",
    "/etc/swanctl/x509",
    "/etc/swanctl/x509ca",
    "/etc/swanctl/conf.d",
    "/etc/swanctl/private",
    "/etc/strongswan.d",
    "/etc/frr",
    "/etc/network",
    "/etc/network/interfaces.d",
    "/etc/sysctl.d",
    "/etc/apparmor.d/local",
    "/etc/systemd/system",
)
#: Debian with systemd and ifupdown; its packages are installed, and nothing is configured.
MACHINE = System(
    uplinks=(Uplink("eth0", IPv4Address("198.51.100.17")),),
    addresses=(("eth0", IPv4Interface("198.51.100.17/24")), ("eth1", IPv4Interface("192.168.17.1/24"))),
    frr_daemons=frozenset(FRR_NEEDED),
    services=Services(Manager.SYSTEMD, "strongswan", "frr", frozenset({"strongswan", "frr"})),
    network=TunnelBy.IFUPDOWN,
    has_apparmor=True,
    groups=frozenset({"frrvty"}),
    links=frozenset({"lo", "eth0", "eth1"}),
    directories=dict.fromkeys(_PACKAGED, 0o755),
    files={
        "/etc/frr/daemons": File(DAEMONS, 0o640, "frr", "frr"),
        "/etc/frr/frr.conf": File(b"! comment\nlog syslog informational\n", 0o640, "frr", "frr"),
        "/etc/network/interfaces": File(b"source /etc/network/interfaces.d/*\n", 0o644, "root", "root"),
        "/etc/apparmor.d/local/usr.sbin.swanctl": File(b"# local\n", 0o644, "root", "root"),
    },
    program="/opt/dmvpn-agent/bin/dmvpn-agent",
)


@cache
def spoke_bundle() -> Bundle:
    return read_bundle(bundles.pfx(bundles.guide()), None, datetime.now(UTC))


@cache
def hub_bundle() -> Bundle:
    return read_bundle(bundles.pfx(bundles.guide(bundles.HUB)), None, datetime.now(UTC))


def node(bundle: Bundle | None = None, **changes: Any) -> Node:
    """Return the spoke that setup makes of its bundle, or another one, with some values changed."""
    made = choose(bundle or spoke_bundle(), MACHINE, ANSWERS).node
    assert made is not None
    return replace(made, **changes)
