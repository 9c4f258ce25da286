"""A charon on a real Unix socket, with SAs, certificates and events, and with faults on demand."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, Section, encode, sections, text

#: The events of unpatched strongSwan that the agent and the tests use.
EVENTS = frozenset({"ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "list-sa", "list-cert",
                    "list-conn"})  # fmt: skip
_CLASSES = {"psk": "pre-shared key", "pubkey": "public key", "eap-md5": "EAP", "xauth": "XAuth"}
PATCHED_EVENTS = EVENTS | {"alert", "child-state-installed", "child-state-rekeyed", "child-state-destroying"}


def rounds(*methods: str) -> dict[str, Any]:
    """Return a connection with these authentication rounds, as charon lists it; ``""``: ``auth`` is not set."""
    return {
        f"remote-{number}": {"class": _CLASSES[method]} if method else {} for number, method in enumerate(methods, 1)
    }


@dataclass
class FakeSa:
    """An IKE_SA with its CHILD_SAs by unique id."""

    unique_id: int
    remote_host: str
    remote_id: str
    local_host: str = "203.0.113.1"
    local_id: str = "CN=hub"
    name: str = "dmvpn"
    spi: str = ""
    children: dict[int, str] = field(default_factory=dict)
    traffic: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    state: str = "ESTABLISHED"
    initiator: bool = False

    def section(self, **changes: Any) -> dict[str, Any]:
        """Return the SA as charon 5.9.8 lists it (``list_ike`` and ``list_child`` in ``vici_query.c``)."""
        spi = self.spi or f"{self.unique_id:016x}"
        return {
            "uniqueid": str(self.unique_id),
            "version": "2",
            "state": self.state,
            **({"initiator": "yes"} if self.initiator else {}),
            "local-host": self.local_host,
            "local-port": "500",
            "local-id": self.local_id,
            "remote-host": self.remote_host,
            "remote-port": "500",
            "remote-id": self.remote_id,
            "initiator-spi": spi,
            "responder-spi": spi[::-1],
            "encr-alg": "AES_GCM_16",
            "encr-keysize": "256",
            "prf-alg": "PRF_HMAC_SHA2_384",
            "dh-group": "ECP_384",
            "established": "60",
            "rekey-time": "13000",
            "child-sas": {f"dmvpn-{number}": self.child(number) for number in self.children},
            **changes,
        }

    def child(self, number: int) -> dict[str, Any]:
        """Return one CHILD_SA; before it is installed, charon lists its first fields only."""
        state = self.children[number]
        section: dict[str, Any] = {
            "name": "dmvpn", "uniqueid": str(number), "reqid": "1", "state": state, "mode": "TRANSPORT",
        }  # fmt: skip
        if state in {"INSTALLED", "REKEYING", "REKEYED", "DELETING", "DELETED"}:
            counts = self.traffic.get(number, (0, 0, 0, 0))
            section |= {
                "protocol": "ESP", "spi-in": f"c{number:07x}", "spi-out": f"d{number:07x}", "encr-alg": "AES_GCM_16",
                "encr-keysize": "256", "bytes-in": str(counts[0]), "packets-in": str(counts[1]), "use-in": "1",
                "bytes-out": str(counts[2]), "packets-out": str(counts[3]), "use-out": "2", "rekey-time": "3000",
                "life-time": "3600", "install-time": "30",
            }  # fmt: skip
        return section | {"local-ts": [f"{self.local_host}/32[gre]"], "remote-ts": [f"{self.remote_host}/32[gre]"]}


class FakeCharon:
    """Serves VICI; ``hang`` makes it answer nothing, ``requests`` are the commands received.

    ``hide_once``: CHILD_SAs that the next list lacks.
    """

    def __init__(self, path: Path, *, patched: bool = False) -> None:
        self.path = path
        self.sas: dict[int, FakeSa] = {}
        self.certificates: list[bytes] = []
        #: Those of them that are not there any more after a flush.
        self.sent: list[bytes] = []
        self.own: list[bytes] = []
        self.crls: list[bytes] = []
        #: As ``list-conns`` shows them.
        self.connections: dict[str, Section] = {"dmvpn": rounds("pubkey"), "dmvpn2": rounds("pubkey")}
        self.requests: list[tuple[str, Section]] = []
        self.hang = False
        self.hide_once: set[int] = set()
        self.half_open = 0
        self.jobs = 0
        self._known = PATCHED_EVENTS if patched else EVENTS
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.StreamWriter, set[str]] = {}

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """Stop as a killed charon does: connections are closed, the socket file remains."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._clients):
            writer.transport.abort()

    def listeners(self, event: str) -> int:
        return sum(event in events for events in self._clients.values())

    def raise_event(self, name: str, message: Section) -> None:
        self.send_raw(encode(Packet(PacketType.EVENT, name, message)), name)

    def send_raw(self, data: bytes, event: str | None = None) -> None:
        """Send bytes to all clients, or to those that registered an event."""
        for writer, events in self._clients.items():
            if event is None or event in events:
                writer.write(data)

    def up(self, sa: FakeSa, *, silent: bool = False) -> None:
        """Bring an SA up with its children; if ``silent``, without an event."""
        self.sas[sa.unique_id] = sa
        if not silent:
            self.raise_event("child-updown", {"up": "yes", sa.name: sa.section()})

    def down(self, unique_id: int) -> None:
        sa = self.sas.pop(unique_id)
        self.raise_event("child-updown", {sa.name: sa.section()})  # down events carry no `up`

    def rekey_child(self, unique_id: int, old: int, new: int) -> None:
        """Replace a CHILD_SA; the old and the new one lie one section deeper in the event."""
        sa = self.sas[unique_id]
        sa.children = {old: "REKEYED", new: "INSTALLED"}
        children = sa.section()["child-sas"]
        pair = {"old": children[f"dmvpn-{old}"], "new": children[f"dmvpn-{new}"]}
        self.raise_event("child-rekey", {sa.name: sa.section(**{"child-sas": {"dmvpn": pair}})})

    def move(self, unique_id: int, remote_host: str) -> None:
        """Move a peer to another address, as MOBIKE or a changed NAT mapping does."""
        sa = self.sas[unique_id]
        sa.remote_host = remote_host
        self.raise_event("ike-update", {sa.name: sa.section()})

    def rekey_ike(self, old: int, new: int) -> None:
        """Replace an IKE_SA; its CHILD_SAs move to the new one."""
        before = self.sas.pop(old)
        after = FakeSa(new, before.remote_host, before.remote_id, children=before.children)
        self.sas[new] = after
        pair = {"old": before.section(), "new": after.section()}
        self.raise_event("ike-rekey", {before.name: pair})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer] = set()
        packets = PacketReader()
        try:
            while data := await reader.read(1 << 16):
                for packet in packets.feed(data):
                    if not self.hang:
                        self._answer(packet, writer)
        except Exception:
            writer.transport.abort()  # as charon does if it cannot read a packet
        finally:
            del self._clients[writer]
            writer.close()

    def _answer(self, packet: Packet, writer: asyncio.StreamWriter) -> None:
        events = self._clients[writer]
        answer = Packet(PacketType.CMD_RESPONSE)
        match packet.type:
            case PacketType.EVENT_REGISTER | PacketType.EVENT_UNREGISTER if packet.name not in self._known:
                answer = Packet(PacketType.EVENT_UNKNOWN)
            case PacketType.EVENT_REGISTER:
                events.add(packet.name)
                answer = Packet(PacketType.EVENT_CONFIRM)
            case PacketType.EVENT_UNREGISTER:
                events.discard(packet.name)
                answer = Packet(PacketType.EVENT_CONFIRM)
            case PacketType.CMD_REQUEST:
                self.requests.append((packet.name, packet.message))
                answer = self._command(packet, writer)
        writer.write(encode(answer))

    def _command(self, packet: Packet, writer: asyncio.StreamWriter) -> Packet:
        message: Section = {}
        match packet.name:
            case "version":
                message = {"daemon": "charon", "version": "5.9.8"}
            case "stats":
                message = {
                    "queues": {"critical": "0", "high": "0", "medium": str(self.jobs), "low": "0"},
                    "ikesas": {"total": str(len(self.sas)), "half-open": str(self.half_open)},
                }
            case "list-sas":
                wanted = text(packet.message, "ike-id")
                for sa in self.sas.values():
                    if wanted in {"", str(sa.unique_id)}:
                        hidden: Section = {"child-sas": {}} if self.hide_once & sa.children.keys() else {}
                        self.hide_once -= sa.children.keys()
                        self._stream(writer, "list-sa", {sa.name: sa.section(**hidden)})
            case "list-certs":
                for der in self.certificates:
                    self._stream(writer, "list-cert", {"type": "X509", "flag": "NONE", "data": der})
                for der in self.own if text(packet.message, "flag") != "CA" else ():
                    own: Section = {"type": "X509", "flag": "NONE", "has_privkey": "yes", "data": der}
                    self._stream(writer, "list-cert", own)
            case "list-conns":
                for name, section in self.connections.items():
                    self._stream(writer, "list-conn", {name: section})
            case "load-conn":
                for name, section in sections(packet.message):
                    methods = [text(part, "auth") for end, part in sections(section) if end.startswith("remote")]
                    self.connections[name] = rounds(*methods or [""])
                message = {"success": "yes"}
            case "load-cert" if text(packet.message, "type") == "X509_CRL":
                crl = x509.load_der_x509_crl(packet.message["data"])
                self.crls.append(crl.public_bytes(Encoding.DER))
                message = {"success": "yes"}
            case "flush-certs":
                self.certificates = [der for der in self.certificates if der not in self.sent]
                message = {"success": "yes"}
            case "load-cert":
                certificate = x509.load_pem_x509_certificate(packet.message["data"])
                self.certificates.append(certificate.public_bytes(Encoding.DER))
                message = {"success": "yes"}
            case "terminate":
                wanted, name = text(packet.message, "ike-id"), text(packet.message, "ike")
                found = [sa.unique_id for sa in self.sas.values() if wanted == str(sa.unique_id) or name == sa.name]
                if text(packet.message, "force") == "yes":
                    for number in found:
                        self.down(number)
                message = (
                    {"success": "yes", "matches": str(len(found)), "terminated": str(len(found))}
                    if found
                    else {"success": "no", "errmsg": "no matching SAs to terminate found"}
                )
            case _:
                return Packet(PacketType.CMD_UNKNOWN)
        return Packet(PacketType.CMD_RESPONSE, message=message)

    def _stream(self, writer: asyncio.StreamWriter, event: str, message: Section) -> None:
        if event in self._clients[writer]:
            writer.write(encode(Packet(PacketType.EVENT, event, message)))
