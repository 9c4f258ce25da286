"""The Unix socket at which nhrpd expects charon."""

import socket
from pathlib import Path
from typing import Protocol

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.client_connection import Answer, ClientConnection
from dmvpn_agent.bridge.clients import Client
from dmvpn_agent.bridge.handover_state import ClientState
from dmvpn_agent.runtime.acceptor import Acceptor, makes_room, source_of
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

MAX_CLIENTS = 16
#: Descriptors reserved for nhrpd's connection in case the process has no other left.
RESERVE = 2
#: nhrpd reads at once. A client that leaves more bytes unread does not read at all.
MAX_UNSENT_BYTES = 8 << 20


class ClientRegistry(Protocol):
    """What keeps the connected clients: the bridge."""

    def connected(self, client: Client) -> None:
        """Add a client, or close it."""

    def adopt(self, client: Client) -> None:
        """Add a client of the program before this one."""

    def disconnected(self, client: Client) -> None:
        """Remove a client."""


class ViciServer:
    """Accepts clients; ``max_unsent``: the bytes that a client may leave unread."""

    def __init__(
        self,
        path: Path,
        registry: ClientRegistry,
        answer: Answer,
        telemetry: Telemetry,
        *,
        max_unsent: int = MAX_UNSENT_BYTES,
    ) -> None:
        self._path = path
        self._registry = registry
        self._answer = answer
        self._telemetry = telemetry
        self._max_unsent = max_unsent
        self._acceptor = Acceptor("bridge", self._accept, telemetry, reserve=RESERVE)
        self._listener: socket.socket | None = None
        self._clients: list[ClientConnection] = []

    def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` if another process listens on the path."""
        self._listen_on(bind(self._path, mode=0o660))

    def adopt(self, listener: int, clients: tuple[ClientState, ...]) -> None:
        """Continue with the sockets of the program before this one; a listener on another path is replaced.

        Raises ``OSError``, ``SocketInUse``.
        """
        inherited = socket.socket(fileno=listener)
        if inherited.family is socket.AF_UNIX and inherited.getsockname() == str(self._path):
            self._listen_on(inherited)
        else:
            inherited.close()
            self.start()
        for state in clients:
            client = self._add(socket.socket(fileno=state.descriptor))
            self._registry.adopt(client)
            client.start(state)

    def freeze(self) -> tuple[int, tuple[ClientState, ...]]:
        """Stop serving; return the listener and the clients' states. Raises ``RuntimeError`` before ``start``."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        self._acceptor.stop()
        return self._listener.fileno(), tuple(client.freeze() for client in self._clients)

    def thaw(self, states: tuple[ClientState, ...]) -> None:
        """Continue after ``freeze``."""
        if self._listener is not None:
            self._listen_on(self._listener)
        for client, state in zip(tuple(self._clients), states, strict=True):
            client.start(state)

    def stop(self) -> None:
        """Close the socket and all clients."""
        if self._listener is not None:
            self._acceptor.stop()
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for client in tuple(self._clients):
            client.close("stopped")

    def _listen_on(self, listener: socket.socket) -> None:
        self._listener = listener
        self._acceptor.start(listener)

    def _add(self, connection: socket.socket) -> ClientConnection:
        client = ClientConnection(connection, self._answer, self._remove, self._max_unsent)
        self._clients.append(client)
        return client

    def _accept(self, connection: socket.socket) -> bool:
        full = len(self._clients) >= MAX_CLIENTS
        if full and (leaving := makes_room(self._clients, source_of(connection))) is not None:
            leaving.close("too_many" if leaving.engaged else "idle")
        client = self._add(connection)
        if len(self._clients) > MAX_CLIENTS:
            client.close("too_many")
            return True
        self._registry.connected(client)
        client.start()
        return True

    def _remove(self, client: ClientConnection, cause: str) -> None:
        self._telemetry.increment(metrics.BRIDGE_CLIENTS_DROPPED, cause)
        self._clients.remove(client)
        self._registry.disconnected(client)
