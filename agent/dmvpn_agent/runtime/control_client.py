"""The client's side of the control socket: what a command imports, so it is apart from the server.

A request is ``{"command": "peers", "arguments": {…}}``; a line that is empty asks for ``status``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.document import Document, read_document

#: Seconds in which a client must send its request and read the answer.
TIMEOUT = 10.0
MAX_ANSWER = 64 << 20


async def ask(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> Document:
    """Return a running process's answer to a request, which may be a failure.

    Raises ``OSError`` (it does not run, no permission), ``TimeoutError``, ``ValueError``.
    """
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await _request(path, command, arguments or {})
        try:
            text = bytearray()
            while chunk := await reader.read(1 << 16):
                text += chunk
                if len(text) > MAX_ANSWER:
                    raise ValueError(f"{path} sent more than {MAX_ANSWER} bytes")
        finally:
            writer.close()
    return read_document(path, text)


async def follow(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> AsyncIterator[Document]:
    """Yield the documents that a running process sends until it ends. Raises as ``ask``."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await _request(path, command, arguments or {})
    try:
        while line := await reader.readline():
            yield read_document(path, line)
    finally:
        writer.close()


async def read_status(path: Path) -> dict[str, Any]:
    """Return a running process's state. Raises as ``ask``."""
    state: dict[str, Any] = (await ask(path, "status"))["data"]
    return state


async def _request(
    path: Path, command: str, arguments: Mapping[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_ANSWER)
    writer.write(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
    return reader, writer
