"""Checks of the Unix sockets between the programs, and of the metrics ports."""

from collections.abc import Iterator
from typing import NamedTuple

from dmvpn_agent.doctor.check import Check, Level, result
from dmvpn_agent.doctor.node import Expected, NodeView, SocketView


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


def metrics_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield a check for the metrics port of the agent, and of the bridge if nhrpd uses it."""
    bridged = node.sockets["nhrpd's charon"].leads_to == expected.bridge_socket
    programs = {"agent": ("dmvpn-agent", "metrics.listen"), "bridge": ("dmvpn-bridge", "bridge.metrics_listen")}
    for name, view in node.metrics.items():
        if name == "bridge" and not bridged:
            continue
        program, key = programs[name]
        found = {True: "served", False: "another program answers", None: "no program listens"}[view.served]
        do = f"start {program}"
        if view.served is not None:
            do = f"stop the other program (`ss -ltnp`), or set {key} to another port"
        yield result(f"metrics, {name}", bool(view.served), f"{view.listen}: {found}", f"{program}'s /metrics", do,
                     Level.WARNING)  # fmt: skip
