"""Where the page reads a node: its control socket, or the API of its own page."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.runtime import control_client, http_client
from dmvpn_agent.runtime.document import Document, read_document
from dmvpn_agent.runtime.http_access import FileValue, secret_lines
from dmvpn_agent.runtime.http_client import HttpAnswer, HttpFailed, HttpQuestion, Limits
from dmvpn_agent.runtime.http_coding import decompressed
from dmvpn_agent.runtime.url import Url

#: Seconds in which a page must answer, and bytes of its answer: enough for 10,000 peers.
LIMITS = Limits(8.0, 16 << 20)


class Source(Protocol):
    """One node."""

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Document:
        """Return its answer, which may be a failure. Raises ``OSError``, ``TimeoutError``, ``ValueError``."""


class SocketSource:
    """The agent at a control socket of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Document:
        """Ask it; see ``Source``."""
        try:
            return await control_client.ask(self._path, command, arguments)
        except FileNotFoundError:
            raise OSError(f"there is no socket {self._path}; is the agent running?") from None
        except TimeoutError:
            raise
        except OSError as error:
            do = "may this user open it?" if isinstance(error, PermissionError) else "is the agent running?"
            raise OSError(f"{self._path}: {error.strerror or error}; {do}") from error


class PageSource:
    """The page of another node: a new connection each time, and no redirect is followed."""

    def __init__(self, url: Url, settings: NodeSettings) -> None:
        self._url = url
        self._settings = settings
        files = (settings.authorities, settings.certificate, settings.key)
        self._context = FileValue(tuple(file for file in files if file), self._read_context)

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Document:
        """Ask it; see ``Source``."""
        tls = self._context() if self._url.scheme == "https" else None
        token = secret_lines(self._settings.token)[:1]
        fields = ("Accept-Encoding", "gzip"), *(("Authorization", f"Bearer {line}") for line in token)
        url = Url.parse(f"{self._url.text.rstrip('/')}/api/v1/{_path(command, arguments)}")
        try:
            return self._document(await http_client.ask(HttpQuestion(url, headers=fields), LIMITS, tls))
        except HttpFailed as error:
            raise OSError(f"{self._url}: {error}") from error

    def _document(self, answer: HttpAnswer) -> Document:
        """Return the document of an answer. Raises ``ValueError``."""
        if answer.headers.get("content-type", "").startswith("application/json"):
            packed = answer.headers.get("content-encoding") == "gzip"
            return read_document(self._url, decompressed(answer.body, LIMITS.octets) if packed else answer.body)
        do = _REMEDIES.get(answer.status, "is this the URL of a page of dmvpn-agent?")
        raise ValueError(f"{self._url} answered {answer.text}; {do}")

    def _read_context(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=str(settings.authorities) if settings.authorities else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if settings.certificate:
                context.load_cert_chain(str(settings.certificate), str(settings.key) if settings.key else None)
        except OSError as error:
            raise OSError(f"TLS files of the node {settings.name}: {error}; expected readable PEM files") from error
        return context


_REMEDIES = {
    401: "give this node's token_file the token of that page",
    421: "add the name to page.names there",
}


def _path(command: str, arguments: Mapping[str, Any]) -> str:
    """Return the path of a request below ``/api/v1/``."""
    wanted = dict(arguments)
    path = f"peers/{quote(str(wanted.pop('peer')), safe='')}" if command == "peer" else command
    words = {key: "yes" if value is True else value for key, value in wanted.items()}
    return path + (f"?{urlencode(words)}" if words else "")


def source(settings: NodeSettings) -> Source:
    """Return the source of a node."""
    return SocketSource(settings.at) if isinstance(settings.at, Path) else PageSource(settings.at, settings)
