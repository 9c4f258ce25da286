"""One HTTP request at a time, for what the agent fetches: bounded in size and time, and never redirected.

h11 parses and writes HTTP; asyncio does TLS. A redirect is an answer like any other: only the operator's address is
asked, and no server sends the agent to another one.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import h11

from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.runtime.url import Url

#: Octets of the head of an answer.
MAX_HEAD = 16384
#: Octets that are read at once.
_CHUNK = 65536


class HttpFailed(Exception):
    """There is no whole answer: no connection or TLS, no time left, an answer too long, cut off or not HTTP."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; the names of header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Return status and the start of the body, for people."""
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else ""
        if location := self.headers.get("location"):
            return printable(f"{self.status} {phrase}, a redirect: name the address {location[:200]} instead")
        shown = self.body[:200] if "text/plain" in self.headers.get("content-type", "") else b""
        lines = dict.fromkeys((f"{self.status} {phrase}", *shown.decode("latin-1").strip().splitlines()))
        return printable(": ".join(filter(None, lines)))


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds``: for everything, from the name's resolution to the last octet. ``octets``: of the body."""

    seconds: float
    octets: int


@dataclass(frozen=True, slots=True)
class HttpQuestion:
    """A request. ``headers``: besides those that every request has."""

    url: Url
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)


async def ask(question: HttpQuestion, limits: Limits, tls: ssl.SSLContext | None = None) -> HttpAnswer:
    """Send a request, and return the whole answer. Raises ``HttpFailed``.

    ``tls``: how to do TLS; without it, by the CAs of the operating system.
    """
    url = question.url
    try:
        async with asyncio.timeout(limits.seconds):
            reader, writer = await _connect(url, tls)
            try:
                return await _exchange(question, reader, writer, limits.octets)
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise HttpFailed(f"no whole answer within {limits.seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise HttpFailed(f"TLS: {error.verify_message or error}") from error
    except h11.ProtocolError as error:
        raise HttpFailed(f"the answer is not HTTP, or cut off: {printable(str(error))}") from error
    except UnicodeError as error:  # the resolver encodes names
        raise HttpFailed(f"{url.host} is no name that can be resolved: {printable(str(error))}") from error
    except OSError as error:  # ssl.SSLError and socket.gaierror are such
        raise HttpFailed(printable(error.strerror or str(error) or type(error).__name__)) from error


async def _connect(url: Url, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if url.scheme == "http":
        return await asyncio.open_connection(url.host, url.port)
    return await asyncio.open_connection(url.host, url.port, ssl=tls or ssl.create_default_context())


async def _exchange(
    question: HttpQuestion, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: int
) -> HttpAnswer:
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    fields = [
        ("Host", question.url.authority),
        ("User-Agent", "dmvpn-agent"),
        ("Connection", "close"),
        *question.headers,
    ]
    if question.body:
        fields.append(("Content-Length", str(len(question.body))))
    request = h11.Request(method=question.method, target=question.url.target, headers=fields)
    parts = request, h11.Data(data=question.body), h11.EndOfMessage()
    writer.write(b"".join(protocol.send(part) or b"" for part in parts))
    await writer.drain()
    answer: h11.Response | None = None
    body = bytearray()
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > octets:
                raise HttpFailed(f"the answer is longer than {octets} octets")
        elif isinstance(event, h11.EndOfMessage) and answer is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
            return HttpAnswer(answer.status_code, headers, bytes(body))
        elif not isinstance(event, h11.InformationalResponse):
            raise HttpFailed("the connection was closed without an answer")
