"""An HTTP server that answers what a test tells it, well-formed or not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[bytes], bytes | Awaitable[bytes]]


def answer(body: bytes = b"", status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]).encode() + body


@dataclass
class FakeHttp:
    """Listens at ``url``. ``replies``: what it sends, byte for byte, by path; ``requests``: what it was sent."""

    url: str
    replies: dict[str, Answer] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    clients: list[bytes | None] = field(default_factory=list)  # the certificates that they showed, in DER

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if (length := _field(request, b"content-length")) is not None:
                request += await reader.readexactly(int(length))
            self.requests.append(request)
            tls = writer.get_extra_info("ssl_object")
            self.clients.append(tls.getpeercert(binary_form=True) if tls else None)
            reply = self.replies.get(request.split(b" ")[1].decode(), answer(status="404 Not Found"))
            if callable(reply):
                made = reply(request)
                reply = made if isinstance(made, bytes) else await made
            writer.write(reply)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def http_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeHttp]:
    """Serve on a free port of this host."""
    fake = FakeHttp("")
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    fake.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


def _field(request: bytes, name: bytes) -> bytes | None:
    for line in request.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return None
