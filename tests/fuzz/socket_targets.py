"""What clients send to the agent's own sockets, and what peers have charon write into its log."""

import asyncio
import json
import re
from collections.abc import Coroutine
from ipaddress import ip_address
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

from dmvpn_agent.charon.failure_log import KINDS, Failure, FailureLog, may_matter
from dmvpn_agent.charon.last_alerts import LastAlerts
from dmvpn_agent.charon.vici import Packet, PacketType, ViciError, decode, encode
from dmvpn_agent.control.requests import Requests
from dmvpn_agent.page.api import PREFIX, Api
from dmvpn_agent.page.node import Answer
from dmvpn_agent.runtime.control_socket import _read_request
from dmvpn_agent.runtime.document import Code, RequestError, document, failure
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.exposition import Exposed
from dmvpn_agent.runtime.http_access import AccessGuard, HttpAccess
from dmvpn_agent.runtime.http_server import HttpServer
from dmvpn_agent.runtime.http_site import Site
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.history import History
from factories import NOW
from fakes.frr import MemoryStore
from fuzz.mutate import blind
from fuzz.targets import Broken
from fuzz.text import WORDS, json_changed
from unit.view.test_status_text import _state as status_state

T = TypeVar("T")

PEER = ip_address("203.0.113.2")
_MARKS = ("N(AUTH_FAILED)", "certificate was revoked on", "is not trusted", f"]...{PEER}[", '"', "'", "[", "]",
          "198.51.100.9 is initiating an IKE_SA", "violates constraint", "received AUTHENTICATION_FAILED notify",
          "looking for peer configs matching ", " established between ", "CN=victim", "O=x, ", "*")  # fmt: skip


class Loop:
    """Runs coroutines; made in the process that uses it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what it returns."""
        self._loop = self._loop or asyncio.new_event_loop()
        return self._loop.run_until_complete(coroutine)


class FailureLogs:
    """``FailureLog``: a peer chooses its identity, which charon quotes, and neither the address nor the cause."""

    def __init__(self) -> None:
        said = f"looking for peer configs matching 203.0.113.1[%any]...{PEER}[O=x, CN=evil]"
        self._seeds = [
            _log("IKE", f"{PEER} is initiating an IKE_SA"), _log("CFG", said),
            _log("ENC", "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]"),
        ]  # fmt: skip

    def make(self, random: Random) -> bytes:
        """Return an identity as charon prints it, or a packet."""
        if random.random() < 0.5:
            return blind(random, random.choice(self._seeds), self._seeds)
        return "".join(random.choices((*_MARKS, *WORDS), k=random.randrange(1, 6))).encode(errors="replace")

    def check(self, data: bytes, _: Random) -> bool:
        """Read it as a packet, and as an identity within honest messages."""
        may_matter(data)
        log = FailureLog()
        for packet in (*self._seeds[:2], data, data, self._seeds[2]):
            try:
                found = log.read(decode(packet).message)
            except ViciError:
                continue
            if found is not None and found.kind not in KINDS:
                raise Broken(f"{found.kind} is no kind of failure")
        identity = "".join(char if " " <= char <= "~" else "?" for char in data.decode("latin-1"))
        return self._refused(identity)[:2] == ("cert-no-issuer", PEER) or self._fail(identity)

    @staticmethod
    def _refused(identity: str) -> Failure:
        log = FailureLog()
        messages = (
            ("IKE", f"{PEER} is initiating an IKE_SA"),
            ("CFG", f"looking for peer configs matching 203.0.113.1[{identity}]...{PEER}[{identity}]"),
            ("CFG", f'  using certificate "{identity}"'),
            ("CFG", f'no issuer certificate found for "{identity}"'),
        )
        for group, said in messages:
            if log.read(decode(_log(group, said)).message):
                raise Broken("an identity ends an IKE_SA")
        found = log.read(decode(_log("ENC", "generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]")).message)
        if found is None:
            raise Broken("the failure is not found")
        return found

    @staticmethod
    def _fail(identity: str) -> bool:
        raise Broken(f"an identity changes address or cause: {identity!r:.200}")


def _log(group: str, said: str) -> bytes:
    fields = {"group": group, "msg": said[:60_000], "ikesa-uniqueid": "7"}
    return encode(Packet(PacketType.EVENT, "log", fields))[4:]


class _NoPeers:
    """No peer has any name."""

    async def refresh(self) -> tuple[()]:
        return ()

    def find(self, _: str) -> tuple[()]:
        return ()


class ControlRequests:
    """The control socket's requests: a user who may only look changes nothing, whatever it sends."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._seeds = [
            json.dumps({"command": command, "arguments": arguments})
            for command, arguments in (
                ("status", {}), ("peers", {}), ("peer", {"peer": "spoke1"}), ("sas", {"peers": ["spoke1"]}),
                ("history", {"since": NOW.isoformat(), "limit": 5, "denied": True, "peer": "x"}), ("events", {}),
                ("kick", {"peer": "10.255.0.2"}), ("resync", {}), ("reload", {}),
            )
        ]  # fmt: skip
        peers: Any = _NoPeers()
        store: Any = MemoryStore()
        charon: Any = SimpleNamespace(connected=True, ike_sas=(), last_alerts=LastAlerts())
        nothing: Any = SimpleNamespace(
            **dict.fromkeys(("kick", "quarantine", "release", "forget", "reload", "resync"))
        )
        self._requests = Requests(
            status_state, peers, charon, History(store, lambda: NOW), nothing, lambda: NOW, Telemetry()
        )

    def make(self, random: Random) -> bytes:
        """Return a line."""
        if random.random() < 0.2:
            seeds = [seed.encode() for seed in self._seeds]
            return blind(random, random.choice(seeds), seeds)
        return json_changed(random, random.choice(self._seeds), self._seeds).encode(errors="surrogatepass")

    def check(self, data: bytes, _: Random) -> bool:
        """Answer it; tell whether it was understood."""
        try:
            answer = self._loop.run(self._answer(data))
        except RequestError as error:
            json.dumps(failure("error/1", error.code, str(error)))
            return False
        if b'"action/1"' in answer:
            raise Broken("a user who may only look has changed something")
        return True

    async def _answer(self, data: bytes) -> bytes:
        connection: Any = SimpleNamespace(reader=asyncio.StreamReader(), source=(64999, 1))
        connection.reader.feed_data(data + b"\n")
        connection.reader.feed_eof()
        answer = await self._requests.answer(await _read_request(connection))
        return json.dumps(answer).encode() if isinstance(answer, dict) else b""


class _Writer:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.write = self.written.extend
        self.transport = SimpleNamespace(set_write_buffer_limits=lambda **_: None)

    async def drain(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def get_extra_info(self, _: str) -> None: ...


class _Node:
    """A node of the page that knows no peer."""

    name = "hub1"

    async def ask(self, command: str, _: object) -> Answer:
        known = document("status/1", {}) if command == "status" else failure("error/1", Code.NO_SUCH_PEER, "none")
        return Answer(known, json.dumps(known).encode(), b"")

    def as_json(self) -> dict[str, str]:
        return {"name": self.name}


class HttpRequests:
    """What anybody sends to the port of the metrics, and to that of the page."""

    def __init__(self) -> None:
        self._loop = Loop()
        node: Any = _Node()
        exposed = Exposed(Telemetry(), Readiness(), "agent")
        guard, endpoint = AccessGuard(HttpAccess()), Endpoint("127.0.0.1", 1)
        sites = (
            Site({"/": exposed.landing, **exposed.pages}, open_paths=frozenset({"/healthz"})),
            Site(Api([node]).pages, name="page", hosts=frozenset({"hub1.example"})),
        )
        self._servers = [HttpServer(endpoint, guard, site, Telemetry()) for site in sites]
        paths = ("/", "/metrics?name[]=x", "/healthz", "/readyz", f"{PREFIX}/nodes", f"{PREFIX}/status?node=hub1",
                 f"{PREFIX}/peers/spoke1", f"{PREFIX}/stages/a%2Fb", f"{PREFIX}/history?limit=5&since=2026-03-01",
                 f"{PREFIX}/history?peer=x&denied=true&node=hub1")  # fmt: skip
        fields = "Host: hub1.example\r\nAuthorization: Basic eDp5\r\nAccept-Encoding: gzip;q=0.5, *\r\n"
        self._seeds = [f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode() for path in paths]
        self._seeds.append(
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
        )
        self._seeds.append(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    def make(self, random: Random) -> bytes:
        """Return a request."""
        data = random.choice(self._seeds)
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            data = blind(random, data, self._seeds)
        return data

    def check(self, data: bytes, _: Random) -> bool:
        """Answer it at each port; tell whether it was understood."""
        statuses = [self._status(server, data) for server in self._servers]
        return any(status == b"200" for status in statuses)

    def _status(self, server: HttpServer, data: bytes) -> bytes:
        answer = self._loop.run(self._answer(server, data))
        if not answer:
            return b""  # the client closed before it had sent a request
        found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n((?:[A-Za-z-]+: [ -~]*\r\n)+)", answer, re.ASCII)
        if found is None or (found[1].startswith(b"5") and found[1] != b"501"):
            raise Broken(f"the answer is {answer!r:.300}")
        return found[1]

    @staticmethod
    async def _answer(server: HttpServer, data: bytes) -> bytes:
        """Return the head of the answer; that of ``100 Continue`` is left out."""
        connection: Any = SimpleNamespace(reader=asyncio.StreamReader(), writer=_Writer(), source=("192.0.2.1", 9))
        connection.closed_by_client = connection.reader.read
        connection.reader.feed_data(data)
        connection.reader.feed_eof()
        await server._answer(connection)
        written = bytes(connection.writer.written)
        while written.startswith(b"HTTP/1.1 100 "):
            written = written.partition(b"\r\n\r\n")[2]
        head, end, _ = written.partition(b"\r\n\r\n")
        return head + end[:2]
