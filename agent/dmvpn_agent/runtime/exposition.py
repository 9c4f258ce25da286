"""What Prometheus and load balancers ask: ``/metrics``, ``/healthz``, ``/readyz``, and a page that links to them.

Nothing is asked of a daemon for an answer: the pages show what the parts know already.
"""

import asyncio
import html
import sys
from collections.abc import Iterable
from http import HTTPStatus
from time import monotonic, thread_time

from dmvpn_agent import __version__
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import AccessGuard, HttpAccess
from dmvpn_agent.runtime.http_coding import compressed_parts, takes_gzip
from dmvpn_agent.runtime.http_server import TIMEOUT, HttpServer
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page, Site
from dmvpn_agent.runtime.openmetrics import OPENMETRICS, TEXT, render_in_parts
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.telemetry import Telemetry

#: Rendering the page delays the thread that answers nhrpd, so it gets a quarter of the time: after each page the
#: server rests this many times as long as the page took.
REST = 3.0
#: Seconds for which the rendering thread keeps the interpreter while the event loop waits; Python's default is 0.005.
SWITCH_INTERVAL = 0.001
#: Seconds without a turn of the event loop after which the process is not healthy.
LONGEST_PAUSE = 10.0
#: Paths that need no authentication.
OPEN_PATHS = frozenset({"/healthz"})

_LANDING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>dmvpn-agent</title>
<h1>dmvpn-agent {process}</h1>
<p>Version {version}</p>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus; <code>?name[]=NAME</code> selects metrics</li>
<li><a href="/healthz">/healthz</a>: does the process run?</li>
<li><a href="/readyz">/readyz</a>: does it do its work, and if not, why?</li>
</ul></html>
"""


class Exposition:
    """The pages of one process, on a port of their own.

    ``process``: ``agent`` or ``bridge``. ``timeout``: as of ``HttpServer``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        access: HttpAccess,
        telemetry: Telemetry,
        readiness: Readiness,
        process: str = "agent",
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        exposed = Exposed(telemetry, readiness, process)
        site = Site({"/": exposed.landing, **exposed.pages}, open_paths=OPEN_PATHS)
        self._server = HttpServer(endpoint, AccessGuard(access), site, telemetry, timeout=timeout)

    def start(self) -> None:
        """Listen, without waiting. Raises ``OSError``, which says what to do, if address or files are not usable."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._server.start()

    def stop(self) -> None:
        """Close the server."""
        self._server.stop()


class Exposed:
    """What a process shows of itself: ``pages``, and a page that links to them."""

    def __init__(self, telemetry: Telemetry, readiness: Readiness, process: str) -> None:
        self._telemetry = telemetry
        self._readiness = readiness
        self._process = process
        self._turn = asyncio.Lock()
        self._rested = 0.0
        self.pages: dict[str, Page] = {
            "/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz
        }  # fmt: skip

    async def landing(self, _: HttpRequest) -> HttpResponse:
        """Return the page that links to the others."""
        text = _LANDING.format(process=html.escape(self._process), version=html.escape(__version__))
        return HttpResponse(text.encode(), "text/html; charset=utf-8")

    async def _healthz(self, _: HttpRequest) -> HttpResponse:
        paused = self._readiness.paused_for()
        trouble = [f"the event loop has not run for {paused:.0f} s"] if paused > LONGEST_PAUSE else []
        return _verdict("healthy", trouble)

    async def _readyz(self, _: HttpRequest) -> HttpResponse:
        return _verdict("ready", self._readiness.troubles())

    async def _metrics(self, request: HttpRequest) -> HttpResponse:
        async with self._turn:
            await asyncio.sleep(self._rested - monotonic())
            began = monotonic()
            response = self._rendered(request)
            self._rested = monotonic() + REST * (monotonic() - began)
        return response

    def _rendered(self, request: HttpRequest) -> HttpResponse:
        began = thread_time()
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        names = frozenset(request.query.get("name[]", ()))
        parts = render_in_parts(self._telemetry.families(), names, openmetrics=openmetrics)
        headers = [("Vary", "Accept, Accept-Encoding")]
        if takes_gzip(request.headers.get("accept-encoding", "")):
            parts = compressed_parts(parts)
            headers.append(("Content-Encoding", "gzip"))
        body = b"".join(parts)
        self._telemetry.increment(metrics.RENDER_SECONDS, by=thread_time() - began)
        return HttpResponse(body, OPENMETRICS if openmetrics else TEXT, headers=tuple(headers))


def _verdict(word: str, troubles: Iterable[str]) -> HttpResponse:
    lines = list(troubles)
    status = HTTPStatus.SERVICE_UNAVAILABLE if lines else HTTPStatus.OK
    return HttpResponse("\n".join([*(lines or [word]), ""]).encode(), status=status)
