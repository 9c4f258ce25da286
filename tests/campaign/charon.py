"""The charon and the nhrpd of a world, as the product sees them: VICI sections and event messages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from campaign.pki import Holder, printed
from campaign.world import PUBKEY, Sa, World
from dmvpn_agent.bridge.clients import CLIENT_EVENTS
from dmvpn_agent.charon.events import ALERT_EVENT, PATCHED_EVENT
from dmvpn_agent.charon.vici import Packet, PacketType, decode, encode

OWN_NBMA = "203.0.113.254"
#: nhrpd holds no larger certificate.
HOLDABLE = 2047


def over_the_wire(event: str, section: dict[str, Any]) -> Any:
    """Return a section as it arrives: written and read as VICI."""
    return decode(encode(Packet(PacketType.EVENT, event, section))[4:]).message


@lru_cache(maxsize=64)
def _certificate_on_the_wire(flag: str, der: bytes) -> Any:
    return over_the_wire("list-cert", {"type": "X509", "flag": flag, "has_privkey": "no", "data": der})


class WorldCharon:
    """Serves every session that is opened to it."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock
        self.sas: dict[int, Sa] = {}
        self._since: dict[int, float] = {}
        self._came: dict[int, float] = {}  # by a clock that is never set
        self.cache: list[bytes] = list(dict.fromkeys(world.cached))
        self._sent_authorities = [one.der for one in world.intermediates if one.label == "rogue"]
        self._queues: list[asyncio.Queue[tuple[str, Any]]] = []
        self._next = 1000
        self.gone: list[Sa] = []

    def up(self, sa: Sa, sent: Iterable[bytes]) -> None:
        """Have an IKE_SA come up."""
        self.cache = list(dict.fromkeys([*self.cache, *sent]))
        between = sa.holder.issuer.chain()[:-1] if sa.holder else []
        self._sent_authorities += [authority.der for authority in between if authority.is_ca]
        self.sas[sa.number] = sa
        self._since[sa.number] = self._clock()
        self._came[sa.number] = asyncio.get_running_loop().time()
        self._tell("ike-updown", sa, up=True)
        self._tell("child-updown", sa, up=True)

    def age(self, sa: Sa) -> float:
        """Return for how long an IKE_SA has been there, in seconds."""
        return asyncio.get_running_loop().time() - self._came[sa.number]

    def awaits(self, spis: str) -> bool:
        """Tell whether the bridge has yet to say which certificate an IKE_SA has."""
        sa = self.sas.get(int(spis.partition(":")[0], 16))
        return sa is not None and self.age(sa) < sa.late

    def down(self, number: int) -> None:
        """Have an IKE_SA go."""
        if sa := self.sas.pop(number, None):
            self.gone.append(sa)
            self._tell("child-updown", sa, up=False)
            self._tell("ike-updown", sa, up=False)

    def _tell(self, event: str, sa: Sa, *, up: bool) -> None:
        message = over_the_wire(event, {**({"up": "yes"} if up else {}), **self._section(sa)})
        for queue in self._queues:
            queue.put_nowait((event, message))

    def _section(self, sa: Sa) -> dict[str, Any]:
        proved = sa.holder is not None and PUBKEY in self._world.connections[sa.connection]
        certificate = {"remote-cert-data": sa.holder.der} if proved and self._world.patched and sa.holder else {}
        child = {
            "name": sa.connection, "uniqueid": str(sa.number), "reqid": "1", "state": "INSTALLED",
            "mode": "TRANSPORT", "protocol": "ESP", "spi-in": f"c{sa.number:07x}", "spi-out": f"d{sa.number:07x}",
            "encr-alg": "AES_GCM_16", "encr-keysize": "256", "bytes-in": "1", "packets-in": "1", "bytes-out": "1",
            "packets-out": "1", "rekey-time": "3000", "life-time": "3600", "install-time": "1",
        }  # fmt: skip
        return {
            sa.connection: {
                "uniqueid": str(sa.number), "version": "2", "state": "ESTABLISHED", "local-host": OWN_NBMA,
                "local-port": "500", "local-id": "CN=node", "remote-host": sa.nbma, "remote-port": str(sa.port),
                "remote-id": sa.identity, "initiator-spi": f"{sa.number:016x}", "responder-spi": f"{sa.number:x}f",
                "encr-alg": "AES_GCM_16", "established": str(int(self._clock() - self._since[sa.number])),
                **certificate, "child-sas": {f"{sa.connection}-{sa.number}": child},
            }
        }  # fmt: skip

    @asynccontextmanager
    async def session(self) -> AsyncIterator["WorldCharon"]:
        """Connect."""
        yield self

    async def register(self, event: str) -> bool:
        """Tell whether this charon knows an event."""
        return event != ALERT_EVENT and (event != PATCHED_EVENT or self._world.patched)

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """Yield what happens."""
        queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._queues.append(queue)
        while True:
            yield await queue.get()

    async def request(self, command: str, message: Any) -> Any:
        """Run a command: a peer whose IKE_SA is ended comes back with another one."""
        await asyncio.sleep(0)
        if command == "flush-certs" and message.get("type") == "X509":
            self.cache, self._sent_authorities = [], []
        if command == "terminate" and (sa := self.sas.get(int(message["ike-id"]))):
            self.down(sa.number)
            self._next += 1
            again = replace(sa, number=self._next)
            self.up(again, [sa.holder.der] if sa.holder else [])
        return {"success": b"yes"}

    async def stream(
        self, command: str, message: Any, event: str, read: Callable[[Any], Iterable[Any]]
    ) -> list[Any]:  # fmt: skip
        """Answer a command by events."""
        await asyncio.sleep(0)
        found: list[Any] = []
        if command == "list-certs":
            for flag, der in self._certificates(message.get("flag", "ANY")):
                found += read(_certificate_on_the_wire(flag, der))
            return found
        for section in self._answer(command, message):
            found += read(over_the_wire(event, section))
        return found

    def _certificates(self, wanted: str) -> list[tuple[str, bytes]]:
        beside = [self._world.beside] if self._world.beside else []
        loaded = [authority.der for authority in (*self._world.authorities, *beside)]
        shown = [("CA", der) for der in dict.fromkeys([*loaded, *self._sent_authorities])]
        return shown + [("NONE", der) for der in self.cache if wanted != "CA"]

    def _answer(self, command: str, message: Any) -> list[dict[str, Any]]:
        if command == "list-sas":
            wanted = str(message.get("ike-id", ""))
            return [self._section(sa) for sa in self.sas.values() if wanted in ("", str(sa.number))]
        if command == "list-conns":
            return [{name: self._connection(rounds)} for name, rounds in self._world.connections.items()]
        raise AssertionError(command)

    def _connection(self, rounds: tuple[str, ...]) -> dict[str, Any]:
        names = [printed(one.name) for one in self._world.authorities] if self._world.names_authorities else []
        remote = {f"remote-{number}": {"class": kind, "cacerts": names} for number, kind in enumerate(rounds, 1)}
        local = {"local-1": {"class": rounds[0]}}
        return {
            "local_addrs": ["%any"],
            "remote_addrs": ["%any"],
            "version": "IKEv2",
            **local,
            **remote,
            "children": {},
        }


class WorldNhrpd:
    """A VICI client: keeps one certificate for each pair of addresses, as nhrpd does, and what it has bound."""

    def __init__(self) -> None:
        self.events = set(CLIENT_EVENTS)
        self.shown: dict[str, bytes] = {}
        self._children: dict[str, set[str]] = {}
        self.bound: dict[str, str] = {}
        self._event = 0

    def send(self, packet: Packet) -> None:
        """Take a message of the bridge."""
        (section,) = over_the_wire(packet.name, dict(packet.message)).values()
        nbma = section["remote-host"].decode()
        children = [child["uniqueid"].decode() for child in section["child-sas"].values()]
        if packet.name == "child-state-destroying":
            self.destroying(nbma, children)
        else:
            self.installed(nbma, children, section["remote-cert-data"])

    def installed(self, nbma: str, children: list[str], certificate: bytes) -> None:
        """Note a CHILD_SA."""
        self._children.setdefault(nbma, set()).update(children)
        self.shown[nbma] = certificate if len(certificate) <= HOLDABLE else b""

    def destroying(self, nbma: str, children: list[str]) -> None:
        """Note that a CHILD_SA went; with the last one go the bindings."""
        self._children.setdefault(nbma, set()).difference_update(children)
        if not self._children[nbma]:
            self.bound = {address: at for address, at in self.bound.items() if at != nbma}

    async def drained(self) -> None:
        """Wait for nothing."""

    def close(self, cause: str) -> None:
        """Take note of nothing."""

    def question(self, interface: str, kind: str, address: str, nbma: str, own: str, stale: Holder | None) -> bytes:
        """Return the message by which nhrpd asks."""
        self._event += 1
        certificate = self.shown.get(nbma, b"") if stale is None else stale.der
        fields = {
            "eventid": str(self._event), "event": "authorize-binding", "type": kind, "old_type": "invalid",
            "num_nhs": "0", "interface": interface, "local_addr": own, "vc_initiated": "no", "local_nbma": OWN_NBMA,
            "local_cert": "", "remote_addr": address, "remote_nbma": nbma,
            "remote_cert": certificate.hex() if len(certificate) <= HOLDABLE else "",
        }  # fmt: skip
        return "".join(f"{name}={value}\n" for name, value in fields.items()).encode() + b"\n"
