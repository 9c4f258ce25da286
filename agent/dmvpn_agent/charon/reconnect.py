"""Sets up an IKE_SA with a peer, with the command that nhrpd uses.

A charon with Alpine's patches accepts ``initiate`` with addresses. For other charons the bridge does, on the socket
where nhrpd expects charon.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.commands import initiate
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.charon.vici_client import ViciSession
from dmvpn_agent.runtime.telemetry import Telemetry

TIMEOUT = 5.0


class ViciReconnector:
    """Uses the first of the sockets that exists, with a new connection for each command.

    ``profiles``: the CHILD_SA configuration of each tunnel interface.
    """

    def __init__(self, sockets: Sequence[Path], profiles: Mapping[str, str], telemetry: Telemetry) -> None:
        self._sockets = sockets
        self._profiles = profiles
        self._telemetry = telemetry

    async def initiate(self, interface: str, local: Address, remote: Address) -> None:
        """Request an IKE_SA between two NBMA addresses for a tunnel interface.

        Raises ``CharonLost``, ``CommandFailed``.
        """
        if interface not in self._profiles:  # the peer was stored before the configuration changed
            raise CommandFailed(f"{interface} is not in nhrp.interfaces")
        path = next((path for path in self._sockets if path.is_socket()), None)
        if path is None:
            raise CharonLost(f"none of {', '.join(str(path) for path in self._sockets)} is a socket")
        try:
            streams = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise CharonLost(f"{path}: {error.strerror}") from error
        session = ViciSession(*streams, self._telemetry, TIMEOUT, max_waiting_events=1)
        try:
            await initiate(session, self._profiles[interface], local, remote)
        finally:
            with contextlib.suppress(OSError):
                await session.close()
