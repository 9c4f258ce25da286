"""The bridge's VICI clients, and the events it sends them."""

from collections.abc import Iterator
from typing import Protocol

from dmvpn_agent.bridge import metrics, verdict_messages
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.nhrpd_sections import render_for_nhrpd
from dmvpn_agent.charon.sa import Circuit
from dmvpn_agent.charon.vici import Packet, PacketType
from dmvpn_agent.runtime.telemetry import Telemetry

#: The events that nhrpd registers.
CLIENT_EVENTS = frozenset({"child-state-installed", "child-state-rekeyed", "child-state-destroying", "list-sa"})


class Client(Protocol):
    """A VICI client of the bridge; ``events``: those that it registered."""

    events: set[str]

    def send(self, packet: Packet) -> None:
        """Send a packet, as soon as the client reads."""

    async def drained(self) -> None:
        """Wait while much is unsent."""

    def close(self, cause: str) -> None:
        """Close the connection."""


class Clients:
    """All connected clients."""

    def __init__(self, certificates: Certificates, telemetry: Telemetry) -> None:
        self._certificates = certificates
        self._telemetry = telemetry
        self._clients: set[Client] = set()
        telemetry.observe(metrics.BRIDGE_CLIENTS, lambda: len(self._clients))

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._clients))

    def add(self, client: Client) -> None:
        """Add a client."""
        self._clients.add(client)

    def discard(self, client: Client) -> None:
        """Remove a client."""
        self._clients.discard(client)

    def send(self, client: Client, event: str, circuit: Circuit) -> None:
        """Send one client an event about a circuit, if it registered the event."""
        if event in client.events:
            message = render_for_nhrpd(*circuit, *self._certificates.of(circuit[0]))
            client.send(Packet(PacketType.EVENT, event, message))
            self._telemetry.increment(metrics.BRIDGE_EVENTS, event)

    def send_verdict(self, client: Client, spis: str) -> None:
        """Tell one client by which certificate an IKE_SA's peer authenticated, if it was looked for."""
        certificate = self._certificates.verdict(spis)
        if certificate is not None and verdict_messages.EVENT in client.events:
            client.send(Packet(PacketType.EVENT, verdict_messages.EVENT, verdict_messages.verdict(spis, certificate)))

    def announce(self, event: str, circuit: Circuit) -> None:
        """Send all clients an event about a circuit."""
        for client in self:
            self.send(client, event, circuit)

    def close(self, cause: str) -> None:
        """Close all connections: nhrpd resets its circuits and reconnects after 2 s."""
        for client in self:
            client.close(cause)
