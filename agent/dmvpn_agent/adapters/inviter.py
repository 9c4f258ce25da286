"""Has charon set up an IKE_SA with a peer, in the way that nhrpd does.

charon with Alpine's patches takes ``initiate`` with addresses on its own socket. One without them has the bridge,
which listens where nhrpd looks for charon.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from dmvpn_agent.adapters.charon import ViciSession
from dmvpn_agent.core.model import Address
from dmvpn_agent.service.charon import CharonLost
from dmvpn_agent.service.telemetry import Telemetry

TIMEOUT = 5.0


class ViciInviter:
    """Speaks to the first of the sockets that is there, each time on a connection of its own."""

    def __init__(self, sockets: Sequence[Path], profile: str, telemetry: Telemetry) -> None:
        self._sockets = sockets
        self._profile = profile
        self._telemetry = telemetry

    async def invite(self, local: Address, remote: Address) -> None:
        """Ask for an IKE_SA between two NBMA addresses. Raises ``CharonLost``, ``CommandFailed``."""
        message = {
            "child": self._profile,
            "timeout": "-1",
            "async": "1",
            "init-limits": "0",
            "my-host": str(local),
            "other-host": str(remote),
        }
        path = next((path for path in self._sockets if path.is_socket()), None)
        if path is None:
            raise CharonLost(f"none of {', '.join(str(path) for path in self._sockets)} is a socket")
        try:
            streams = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise CharonLost(f"{path}: {error.strerror}") from error
        session = ViciSession(*streams, self._telemetry, TIMEOUT, max_waiting_events=1)
        try:
            await session.request("initiate", message)
        finally:
            with contextlib.suppress(OSError):
                await session.close()
