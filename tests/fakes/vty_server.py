"""A fake of a daemon's vty socket: gives scripted answers, or misbehaves like a daemon in trouble."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: The answer to a command; ``None`` is no answer, and an incomplete answer ends the connection.
Answers = Callable[[str], bytes | None]


def reply(text: str = "", status: int = 0) -> bytes:
    """Return a reply as FRR sends it."""
    return text.encode() + bytes([0, 0, 0, status])


class VtyServer:
    """Listens at ``directory/<daemon>.vty``; ``conversations`` has the commands of each connection.

    ``piece``: the bytes sent at a time.
    """

    def __init__(self, directory: Path, answers: Answers, daemon: str = "bgpd", piece: int = 1 << 20) -> None:
        self.path = directory / f"{daemon}.vty"
        self.answers = answers
        self.piece = piece
        self.conversations: list[list[str]] = []
        self.open_connections = 0
        self.pipelined = False
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "VtyServer":
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations.append([])
        commands = self.conversations[-1]
        self.open_connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                commands.append((await reader.readuntil(b"\0"))[:-1].decode())
                await asyncio.sleep(0)
                # Some versions discard a command that arrives before the reply to the previous one.
                self.pipelined |= bool(getattr(reader, "_buffer", b""))
                answer = reply() if commands[-1] == "enable" else self.answers(commands[-1])
                if answer is None:
                    continue
                for start in range(0, len(answer), self.piece):
                    writer.write(answer[start : start + self.piece])
                    await writer.drain()
                if answer[-4:-1] != b"\0\0\0":
                    break
        self.open_connections -= 1
        writer.close()
