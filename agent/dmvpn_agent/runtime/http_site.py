"""What a port of ours serves by HTTP, and to whom: requests, answers and pages."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.metrics import Metric

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request; the names of header fields are in lower case.

    ``source``: the client's address. ``certificate``: what it showed in TLS (DER), if anything.
    """

    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: str = ""
    certificate: bytes | None = None
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer; ``headers``: besides type, length and those that every answer has."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


def error_page(status: HTTPStatus, *headers: tuple[str, str], text: str = "") -> HttpResponse:
    """Return an answer that says what is wrong."""
    return HttpResponse(f"{status.value} {status.phrase}\n{text}".encode(), status=status, headers=headers)


class Guard(Protocol):
    """Who may use the port."""

    def context(self) -> ssl.SSLContext | None:
        """Return how to do TLS with the next client, ``None`` without. Raises ``OSError``, which says what to do."""

    def admits(self, authorization: str) -> bool:
        """Tell whether a request's ``Authorization`` is valid. Raises ``OSError`` if a file is not usable."""

    @property
    def challenges(self) -> tuple[str, ...]:
        """Return the values of ``WWW-Authenticate``."""

    def refused(self, source: str, why: str) -> None:
        """Take note of a client whose TLS failed."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a port serves: by path, ``pages`` to GET and HEAD, and ``posts`` to POST with ``max_body`` octets at most.

    The key ``/names/*`` is for all paths below ``/names/`` without one of their own. ``open_paths`` need no
    authentication. ``name``: the listener's in log and metrics. ``counted``: the metric of requests by status.
    ``hosts``: the names by which clients may ask, besides ``localhost`` and addresses; ``None`` for any.
    """

    pages: Mapping[str, Page]
    posts: Mapping[str, Page] = field(default_factory=dict)
    max_body: int = 0
    open_paths: frozenset[str] = frozenset()
    name: str = "metrics"
    counted: Metric = metrics.HTTP_REQUESTS
    hosts: frozenset[str] | None = None

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that a path has; none if there is no such path."""
        return (*(("GET", "HEAD") if self.page("GET", path) else ()), *(("POST",) if self.page("POST", path) else ()))

    def page(self, method: str, path: str) -> Page | None:
        """Return what a method does at a path, if anything."""
        pages = self.posts if method == "POST" else self.pages
        below = (page for key, page in pages.items() if key.endswith("/*") and path.startswith(key[:-1]))
        return pages.get(path) or next(below, None)
