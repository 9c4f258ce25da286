"""The VICI commands that the bridge answers: nhrpd's three, checked and translated, and the agent's one."""

from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar

import structlog

from dmvpn_agent.bridge import metrics, verdict_messages
from dmvpn_agent.bridge.acquire import AcquireFailed, Acquirer, Pair
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.clients import CLIENT_EVENTS, Client
from dmvpn_agent.charon.commands import read_load, terminate
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.charon.vici import Packet, PacketType, Section, ViciError, text
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: The values that charon reads as true (``vici_message.c``, ``get_bool``).
_YES = frozenset({"yes", "true", "enabled", "1"})
#: The fields of charon's answer to ``terminate`` that the client receives.
_TERMINATE_ANSWER = ("matches", "terminated")

Result = TypeVar("Result")


class Refused(Exception):
    """The bridge refuses a command; nhrpd logs the text."""


@dataclass(frozen=True, slots=True)
class InitLimits:
    """charon's settings of the same names, which it does not apply to SAs that a trap policy starts. 0: no limit."""

    half_open: int = 0
    job_load: int = 0


class Commands:
    """Answers the bridge's clients."""

    def __init__(
        self,
        bridge: Bridge,
        acquirer: Acquirer,
        profiles: Set[str],
        limits: InitLimits,
        telemetry: Telemetry,
    ) -> None:
        self._bridge = bridge
        self._profiles = profiles
        self._limits = limits
        self._telemetry = telemetry
        self._acquirer = acquirer

    async def answer(self, client: Client, packet: Packet) -> Packet | None:
        """Execute a client's request; return the answer, ``None`` for a packet that needs none."""
        match packet.type:
            case PacketType.EVENT_REGISTER:
                if packet.name not in {*CLIENT_EVENTS, verdict_messages.EVENT}:
                    return Packet(PacketType.EVENT_UNKNOWN)
                client.events.add(packet.name)
                return Packet(PacketType.EVENT_CONFIRM)
            case PacketType.EVENT_UNREGISTER:
                client.events.discard(packet.name)
                return Packet(PacketType.EVENT_CONFIRM)
            case PacketType.CMD_REQUEST:
                await self._bridge.wait_ready()
                return await self._command(client, packet.name, packet.message)
        return None

    async def _command(self, client: Client, name: str, message: Section) -> Packet:
        answer: dict[str, str] = {}
        outcome = "done"
        try:
            match name:
                case "list-sas":
                    await self._list(client)
                case verdict_messages.COMMAND:
                    await self._list_verdicts(client, message)
                case "initiate":
                    await self._initiate(client, message)
                case "terminate":
                    answer = await self._terminate(message)
                case _:
                    self._telemetry.increment(metrics.BRIDGE_REQUESTS, "other", "unknown")
                    return Packet(PacketType.CMD_UNKNOWN)
        except Refused as error:
            outcome = "refused"
            log.warning("request_refused", command=name, why=str(error))
            answer = {"success": "no", "errmsg": str(error)}
        self._telemetry.increment(metrics.BRIDGE_REQUESTS, name, outcome)
        return Packet(PacketType.CMD_RESPONSE, message={"success": "yes", **answer})

    async def _list(self, client: Client) -> None:
        async for number in in_slices(tuple(self._bridge.circuits.announced)):
            await client.drained()
            if circuit := self._bridge.circuits.announced.get(number):  # it may be gone meanwhile
                self._bridge.clients.send(client, "list-sa", circuit)

    async def _list_verdicts(self, client: Client, message: Section) -> None:
        async for spis in in_slices(verdict_messages.requested(message)):
            await client.drained()
            self._bridge.clients.send_verdict(client, spis)

    async def _initiate(self, client: Client, message: Section) -> None:
        profile = text(message, "child")
        if profile not in self._profiles:
            raise Refused(f"profile {profile[:64]!r} is not served; nhrp.interfaces has {self._served()}")
        try:
            pair = ip_address(text(message, "my-host")), ip_address(text(message, "other-host"))
        except ValueError as error:
            raise Refused(f"my-host or other-host: {error}") from error
        if existing := tuple(self._bridge.circuits.between(*pair)):
            for circuit in existing:
                self._bridge.clients.send(client, "child-state-installed", circuit)
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "not_needed")
        elif self._acquirer.sent_recently(pair):
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "under_way")
        else:
            if text(message, "init-limits") in _YES:
                await self._check_limits(profile)
            await self._check_connection(profile)
            try:
                self._acquirer.start(pair, self._needs_circuit)
            except AcquireFailed as error:
                raise Refused(str(error)) from error

    def _needs_circuit(self, pair: Pair) -> bool:
        return self._bridge.ready and not any(self._bridge.circuits.between(*pair))

    async def _check_connection(self, profile: str) -> None:
        try:
            if await self._bridge.has_connection(profile):
                return
        except CharonLost as error:
            raise Refused(str(error)) from error
        raise Refused(f"charon has not loaded connection {profile!r} (swanctl --load-all)")

    async def _check_limits(self, profile: str) -> None:
        limits = self._limits
        if limits == InitLimits():
            return
        try:
            load = await self._ask(read_load)
        except ViciError as error:
            raise Refused(f"charon's stats cannot be read: {error}") from error
        full = bool(limits.half_open) and load.half_open >= limits.half_open
        if full or (limits.job_load and load.jobs > limits.job_load):
            self._telemetry.increment(metrics.BRIDGE_TRIGGERS, "limited")
            raise Refused(
                f"establishing CHILD_SA '{profile}' not possible at the moment due to limits:"
                f" {load.half_open} half-open IKE_SAs, {load.jobs} jobs"
            )

    async def _terminate(self, message: Section) -> dict[str, str]:
        ike_id, ike = text(message, "ike-id"), text(message, "ike")
        if ike_id:
            if not self._is_ours(ike_id):
                raise Refused("no matching SAs to terminate found")  # charon's own words
            answer = await self._ask(lambda session: terminate(session, ike_id=int(ike_id)))
        elif ike in self._profiles:
            answer = await self._ask(lambda session: terminate(session, ike=ike))
        else:
            raise Refused(f"only ike-id=<number>, or an ike= of {self._served()}, can be terminated")
        return {key: text(answer, key) for key in _TERMINATE_ANSWER if key in answer}

    def _served(self) -> str:
        return ", ".join(sorted(self._profiles))

    def _is_ours(self, ike_id: str) -> bool:
        """Tell whether an IKE_SA belongs to a served profile; nhrpd must not end charon's other tunnels."""
        circuits = self._bridge.circuits
        sas = (*circuits.sas.values(), *(sa for sa, _ in circuits.announced.values()))
        return any(str(sa.unique_id) == ike_id and sa.name in self._profiles for sa in sas)

    async def _ask(self, command: Callable[[CharonSession], Awaitable[Result]]) -> Result:
        if self._bridge.session is None:
            raise Refused("the bridge has no connection to charon")
        try:
            return await command(self._bridge.session)
        except (CommandFailed, CharonLost) as error:
            raise Refused(str(error)) from error
