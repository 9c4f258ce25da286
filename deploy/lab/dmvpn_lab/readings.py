"""What the daemons and the kernel of a node say about themselves, as plain values."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vici import Session

from dmvpn_lab.namespace import CommandError
from dmvpn_lab.node import AGENT, CONTROL_SOCKET, LabNode

Record = dict[str, Any]
_SAMPLE = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


@contextmanager
def vici(node: LabNode, path: str) -> Iterator[Session]:
    """A session at a node's VICI socket. Raises ``OSError`` while nobody serves it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(node.space.path(path)))
        yield Session(client)


def ike_sas(node: LabNode, path: str | None = None) -> list[Record]:
    """All IKE_SAs with their CHILD_SAs, from charon's own VICI socket or another one, such as the bridge's."""
    with vici(node, path or node.mode.socket) as session:
        listed = [sa for entry in session.list_sas() for sa in entry.values()]
    return [_ike_sa(sa) for sa in listed]


def _ike_sa(sa: Record) -> Record:
    children = [
        {
            "unique_id": int(child["uniqueid"]),
            "state": _text(child, "state"),
            "mode": _text(child, "mode"),
            "spi_in": _text(child, "spi-in"),
            "spi_out": _text(child, "spi-out"),
            "packets_in": int(_text(child, "packets-in") or 0),
            "packets_out": int(_text(child, "packets-out") or 0),
        }
        for child in sa.get("child-sas", {}).values()
    ]
    return {
        "unique_id": int(sa["uniqueid"]),
        "state": _text(sa, "state"),
        "initiator_spi": _text(sa, "initiator-spi"),
        "responder_spi": _text(sa, "responder-spi"),
        "remote_host": _text(sa, "remote-host"),
        "remote_id": _text(sa, "remote-id"),
        "child_sas": children,
    }


def _text(section: Record, key: str) -> str:
    value = section.get(key, b"")
    return value.decode() if isinstance(value, bytes) else str(value)


def show(node: LabNode, daemon: str, command: str) -> Any:
    """The JSON that a show command of one FRR daemon prints, by its vty socket; starting vtysh takes much longer.

    Raises ``OSError`` while the daemon does not serve, ``CommandError`` for an answer that is no JSON.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(node.space.path(f"/run/frr/{daemon}.vty")))
        client.sendall(command.encode() + b"\0")
        reply = b""
        # An answer ends with three NULs and a status, which is not 0 for an empty table too.
        while reply[-4:-1] != b"\0\0\0":
            part = client.recv(65536)
            if not part:
                raise CommandError(f"{node.node.name}: {daemon}: {command}: no answer")
            reply += part
    try:
        return json.loads(reply[:-4] or "{}")
    except json.JSONDecodeError:
        raise CommandError(f"{node.node.name}: {daemon}: {command}: no JSON: {reply[:200]!r}") from None


def bgp_neighbors(node: LabNode) -> list[Record]:
    """BGP neighbors with state and counts."""
    summary = show(node, "bgpd", "show bgp ipv4 unicast summary json")
    return [
        {
            "address": address,
            "remote_as": peer["remoteAs"],
            "state": peer["state"],
            "prefixes_received": peer.get("pfxRcd", 0),
            "connections_established": peer.get("connectionsEstablished", 0),
            "connections_dropped": peer.get("connectionsDropped", 0),
        }
        for address, peer in sorted(summary.get("peers", {}).items())
    ]


def bgp_prefixes(node: LabNode, version: int = 4) -> dict[str, list[str]]:
    """Which prefixes bgpd has in its table, from which neighbor; ``(unspec)`` are its own."""
    table = show(node, "bgpd", f"show bgp ipv{version} unicast json")
    return {prefix: [path.get("peerId", "") for path in paths] for prefix, paths in table.get("routes", {}).items()}


def bgp_advertised(node: LabNode, neighbor: str, version: int = 4) -> list[str]:
    """The prefixes bgpd announces to a neighbor."""
    table = show(node, "bgpd", f"show bgp ipv{version} unicast neighbors {neighbor} advertised-routes json")
    return sorted(table.get("advertisedRoutes", {}))


def nhrp_cache(node: LabNode) -> list[Record]:
    """nhrpd's bindings, of both IP versions."""
    commands = ("show ip nhrp cache json", "show ipv6 nhrp cache json")
    return [entry for command in commands for entry in show(node, "nhrpd", command).get("table", [])]


def routes(node: LabNode) -> list[str]:
    """The kernel's routes, but for those to link-local addresses, one line each, sorted."""
    lines = node.space.run("ip", "-4", "route", "show").splitlines()
    if any(lan.version == 6 for lan in node.node.lans):
        lines += node.space.run("ip", "-6", "route", "show").splitlines()
    return sorted(line.strip() for line in lines if not line.startswith("fe80::"))


def ruleset(node: LabNode) -> list[str]:
    """nftables' rules, one line each."""
    return [line.strip() for line in node.space.run("nft", "list", "ruleset").splitlines()]


def status(node: LabNode) -> Record:
    """What the agent says of itself. Raises ``CommandError`` while it does not serve."""
    _, text = node.space.result(
        (*AGENT, "status", "--json", "--socket", CONTROL_SOCKET)
    )  # a degraded node has status 1
    try:
        answer = json.loads(text)
    except ValueError:
        raise CommandError(f"status printed {text[-300:]!r}") from None
    if answer["data"] is None:
        raise CommandError(answer["error"]["message"])
    return dict(answer["data"])


def metrics(node: LabNode, port: int = 19342) -> dict[str, float]:
    """The samples of /metrics, by name with labels. Raises ``OSError`` while nobody serves it."""
    with node.space.connect("127.0.0.1", port) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        with connection.makefile("rb") as stream:
            text = stream.read().decode()
    return {name: float(value) for name, value in _SAMPLE.findall(text)}
