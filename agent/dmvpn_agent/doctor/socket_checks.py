"""Checks of the Unix sockets between the programs, and of the TCP ports."""

from collections.abc import Iterator
from typing import NamedTuple

from dmvpn_agent.doctor.check import Check, Level, result
from dmvpn_agent.doctor.node import Expected, NodeView, PortName, SocketView


class _Socket(NamedTuple):
    """``server``: the program that serves the socket. ``opening``: what to do if a program may not open it."""

    server: str
    opening: str


_VICI_GROUP = (
    "set charon.group = charon-vici, as in swanctl/strongswan-bridged.conf (deploy/README.md), and restart strongSwan"
)
_VTY_GROUP = "run dmvpn-agent with FRR's group frrvty, /run/dmvpn-agent as 2750 dmvpn-agent:frrvty (deploy/README.md)"
_SOCKETS = {
    "nhrpd's charon": _Socket("strongSwan, or dmvpn-bridge if charon is unpatched", _VTY_GROUP),
    "charon": _Socket(
        "strongSwan, with charon.plugins.vici.socket at this path",
        f"{_VICI_GROUP}; make the user dmvpn-agent a member of the group",
    ),
    "nhrpd's events": _Socket("dmvpn-agent (`dmvpn-agent run`)", _VTY_GROUP),
    "control": _Socket("dmvpn-agent (`dmvpn-agent run`)", _VTY_GROUP),
    "nhrpd's terminal": _Socket("FRR", _VTY_GROUP),
    "bgpd's terminal": _Socket("FRR", _VTY_GROUP),
}


def socket_checks(node: NodeView) -> Iterator[Check]:
    """Yield a check for each socket."""
    for name, socket in node.sockets.items():
        yield _socket_check(f"socket, {name}", socket, _SOCKETS[name])


def _socket_check(name: str, view: SocketView, socket: _Socket) -> Check:
    found = f"{view.path}: {view.access or 'missing'}"
    if view.there and view.served is None:
        return Check(name, Level.WARNING, f"{found}, this user may not open it", "a socket that a program serves",
                     "run the doctor as root")  # fmt: skip
    if view.refused:
        return Check(name, Level.FAULT, f"{found}, {view.refused} may not open it",
                     "a socket that this program may open, with its directories", socket.opening)  # fmt: skip
    if view.open_to:
        expected = "a socket of charon's own group: any program that opens it controls all of IPsec"
        return Check(name, Level.FAULT, f"{found}, the group {view.open_to} may open it", expected, _VICI_GROUP)
    if view.there:
        found += f", {'served' if view.served else 'no program listens'}"
    good = view.there and bool(view.served)
    return result(name, good, found, "a socket that a program serves", f"start {socket.server}")


class _Port(NamedTuple):
    """``program``: the one that serves the port. ``key``: where it is configured. ``expected``: what is served."""

    program: str
    key: str
    expected: str


_PORTS = {
    PortName.AGENT: _Port("dmvpn-agent", "metrics.listen", "dmvpn-agent's /metrics"),
    PortName.BRIDGE: _Port("dmvpn-bridge", "bridge.metrics_listen", "dmvpn-bridge's /metrics"),
    PortName.PAGE: _Port("dmvpn-page", "page.listen", "dmvpn-agent's page"),
    PortName.MIRROR: _Port("dmvpn-agent", "crl.listen", "the CRLs in force, for other nodes"),
}


def port_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield a check for each TCP port that is configured; for the bridge's only if nhrpd uses the bridge."""
    bridged = node.sockets["nhrpd's charon"].leads_to == expected.bridge_socket
    for name, view in node.ports.items():
        if name is PortName.BRIDGE and not bridged:
            continue
        port = _PORTS[name]
        found = {True: "served", False: "another program answers", None: "no program listens"}[view.served]
        do = f'start {port.program}, or set {port.key} = ""'
        if view.served is not None:
            do = (
                f"stop the other program (`ss -ltnp`), or set {port.key} to another port; then restart {port.program}"
            )
        yield result(name, bool(view.served), f"{view.listen}: {found}", port.expected, do, Level.WARNING)
