"""The bridge: gives nhrpd the events and certificates that a charon without Alpine's patches does not.

The bridge keeps a picture of charon's CHILD_SAs. What charon reports only says which IKE_SA to look at again; the
difference between the picture and what charon then shows is what nhrpd is told, new ones first, so that a rekeying
never leaves it without a circuit. When charon is lost, so are the circuits: nhrpd's connection is closed, and it
resets them.
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Address
from dmvpn_agent.core.sa import Circuit, IkeSa, circuits, same_circuit
from dmvpn_agent.service.certificates import Certificates
from dmvpn_agent.service.charon import (
    PATCHED_EVENT,
    SA_EVENTS,
    Charon,
    CharonLost,
    CharonSession,
    CommandFailed,
    follow,
    list_sas,
)
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.charon import ike_ids, rekeyed_spis, render_for_nhrpd
from dmvpn_agent.wire.vici import Packet, PacketType, Section, text

log = structlog.get_logger()

#: The events that nhrpd asks for.
CLIENT_EVENTS = frozenset({"child-state-installed", "child-state-rekeyed", "child-state-destroying", "list-sa"})
RESYNC_INTERVAL = 30.0


class Client(Protocol):
    """A VICI client of ours; ``events`` are those it registered."""

    events: set[str]

    def send(self, packet: Packet) -> None:
        """Send a packet, as soon as that goes."""

    def close(self, cause: str) -> None:
        """Close the connection."""


class TriggerFailed(Exception):
    """The packet that starts an SA could not be sent; the text says what to do."""


class Bridge:
    """Serves VICI clients from one charon. ``send_trigger(local, remote)`` has the kernel ask for an SA."""

    def __init__(
        self,
        charon: Charon,
        certificates: Certificates,
        send_trigger: Callable[[Address, Address], None],
        profile: str,
        telemetry: Telemetry,
    ) -> None:
        self._charon = charon
        self._certificates = certificates
        self._send_trigger = send_trigger
        self._profile = profile
        self._telemetry = telemetry
        self._stale: set[int] = set()
        self._picture: dict[int, IkeSa] = {}
        self._session: CharonSession | None = None
        self._clients: set[Client] = set()
        telemetry.observe(metrics.BRIDGE_CLIENTS, lambda: len(self._clients))
        telemetry.observe(metrics.VICI_CONNECTED, lambda: self._session is not None)

    @property
    def ready(self) -> bool:
        """Tell whether the picture is complete: before, and after charon was lost, no client can be served."""
        return self._session is not None

    def connected(self, client: Client) -> None:
        """Take up a client; it is closed at once where charon is not there, and comes back by itself."""
        if self.ready:
            self._clients.add(client)
        else:
            client.close("charon_away")

    def disconnected(self, client: Client) -> None:
        """Let go of a client."""
        self._clients.discard(client)

    async def run(self) -> None:
        """Keep the picture and tell the clients, until cancelled, across charon's restarts."""
        while True:
            async with self._charon.session() as session:
                try:
                    await self._follow(session)
                except CharonLost as error:
                    log.warning("charon_lost", why=str(error), consequence="nhrpd resets its circuits")
                finally:
                    self._session = None
                    for client in tuple(self._clients):
                        client.close("charon_lost")
                    self._picture = {}

    async def _follow(self, session: CharonSession) -> None:
        for event in SA_EVENTS:
            if not await session.register(event):
                log.warning("event_unknown", event_name=event, consequence="seen at the next resync instead")
        if await session.register(PATCHED_EVENT):
            log.warning(
                "charon_is_patched",
                bridge="not needed",
                do="stop it, and give charon its own socket back (charon.plugins.vici.socket)",
            )

        async def look() -> None:
            stale, self._stale = self._stale, set()
            await self._look(session, stale if stale and self.ready else None)
            if not self.ready:
                self._session = session
                log.info("bridge_ready", ike_sas=len(self._picture), circuits=len(circuits(self._picture.values())))

        collecting = asyncio.create_task(self._certificates.collect(session))
        try:
            await follow(session, self._heard, look, resync_interval=RESYNC_INTERVAL)
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)

    def _heard(self, event: str, message: Section) -> None:
        if event == "ike-rekey" and (spis := rekeyed_spis(message)):
            self._certificates.move(*spis)
        if event == "ike-updown":
            self._certificates.authenticated()
        self._stale |= ike_ids(message)

    async def _look(self, session: CharonSession, ids: set[int] | None) -> None:
        """Look at these IKE_SAs, or at all, and tell the clients what is different. Raises ``CharonLost``."""
        if ids is None:
            after = {sa.unique_id: sa for sa in await list_sas(session)}
        else:
            after = {key: sa for key, sa in self._picture.items() if key not in ids}
            for number in ids:
                after |= {sa.unique_id: sa for sa in await list_sas(session, **{"ike-id": str(number)})}
        now = circuits(after.values())
        await self._certificates.learn(session, {sa.spis: sa for sa, _ in now.values()}.values())
        if ids is None:
            self._certificates.prune(after.values())
        before, self._picture = circuits(self._picture.values()), after
        for key, circuit in now.items():
            if key not in before or not same_circuit(before[key], circuit):
                self._announce("child-state-installed", circuit)
        for key, circuit in before.items():
            if key not in now:
                self._announce("child-state-destroying", circuit)

    def _announce(self, event: str, circuit: Circuit) -> None:
        sa, child = circuit
        log.info(event.replace("-", "_"), connection=sa.name, remote=str(sa.remote_host), remote_id=sa.remote_id,
                 ike_id=sa.unique_id, child_id=child.unique_id)  # fmt: skip
        for client in tuple(self._clients):
            self._tell(client, event, circuit)

    def _tell(self, client: Client, event: str, circuit: Circuit) -> None:
        if event in client.events:
            message = render_for_nhrpd(*circuit, *self._certificates.of(circuit[0]))
            client.send(Packet(PacketType.EVENT, event, message))
            self._telemetry.increment(metrics.BRIDGE_EVENTS, event)

    async def answer(self, client: Client, packet: Packet) -> Packet | None:
        """Do what a client asks; return the answer, ``None`` for a packet that asks nothing."""
        match packet.type:
            case PacketType.EVENT_REGISTER:
                if packet.name not in CLIENT_EVENTS:
                    return Packet(PacketType.EVENT_UNKNOWN)
                client.events.add(packet.name)
                return Packet(PacketType.EVENT_CONFIRM)
            case PacketType.EVENT_UNREGISTER:
                client.events.discard(packet.name)
                return Packet(PacketType.EVENT_CONFIRM)
            case PacketType.CMD_REQUEST:
                return await self._command(client, packet.name, packet.message)
        return None

    async def _command(self, client: Client, name: str, message: Section) -> Packet:
        match name:
            case "list-sas":
                for circuit in circuits(self._picture.values()).values():
                    self._tell(client, "list-sa", circuit)
                refusal = None
            case "initiate":
                refusal = self._initiate(client, message)
            case "terminate":
                refusal = await self._terminate(message)
            case _:
                self._telemetry.increment(metrics.BRIDGE_REQUESTS, "other", "unknown")
                return Packet(PacketType.CMD_UNKNOWN)
        self._telemetry.increment(metrics.BRIDGE_REQUESTS, name, "refused" if refusal else "done")
        if refusal:
            log.warning("request_refused", command=name, why=refusal)
            return Packet(PacketType.CMD_RESPONSE, message={"success": "no", "errmsg": refusal})
        return Packet(PacketType.CMD_RESPONSE, message={"success": "yes"})

    def _initiate(self, client: Client, message: Section) -> str | None:
        if text(message, "child") != self._profile:
            return f"profile {text(message, 'child')[:64]!r} is not served; ike.profile is {self._profile}"
        try:
            local, remote = ip_address(text(message, "my-host")), ip_address(text(message, "other-host"))
        except ValueError as error:
            return f"my-host or other-host: {error}"
        existing = [
            circuit
            for circuit in circuits(self._picture.values()).values()
            if (circuit[0].local_host, circuit[0].remote_host) == (local, remote)
        ]
        for circuit in existing:
            self._tell(client, "child-state-installed", circuit)
        if existing:
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "not_needed")
            return None
        try:
            self._send_trigger(local, remote)
        except TriggerFailed as error:
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "failed")
            return str(error)
        self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "sent")
        return None

    async def _terminate(self, message: Section) -> str | None:
        ike_id, ike = text(message, "ike-id"), text(message, "ike")
        if ike_id.isdecimal():
            selection = {"ike-id": ike_id}
        elif ike == self._profile:
            selection = {"ike": ike}
        else:
            return f"only ike-id=<number> or ike={self._profile} can be terminated"
        if self._session is None:
            return "charon is away"
        try:
            # Without waiting: nhrpd does not, and the event tells.
            await self._session.request("terminate", selection | {"timeout": "-1"})
        except (CommandFailed, CharonLost) as error:
            return str(error)
        return None
