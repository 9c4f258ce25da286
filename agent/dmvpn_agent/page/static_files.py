"""The files of the page, which are in the package, and what a browser may do with them."""

from collections.abc import Mapping
from importlib.resources import files

from dmvpn_agent.runtime.http_coding import compressed, takes_gzip
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
#: Scripts, styles and data come from the page itself only, and no other page may show it in a frame.
_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Vary", "Accept-Encoding"),
)


def static_pages() -> Mapping[str, Page]:
    """Return a page for each file, by its path. They are read once: a path of a request names no file."""
    pages = {f"/{name}": _page(name, content) for name, content in _contents().items()}
    return {**pages, "/": pages["/index.html"]}


def _contents() -> dict[str, bytes]:
    folder = files("dmvpn_agent.page") / "static"
    found = (one for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES)
    return {one.name: one.read_bytes() for one in sorted(found, key=lambda one: one.name)}


def _page(name: str, content: bytes) -> Page:
    kind, packed = _TYPES[name.rpartition(".")[2]], compressed(content)

    async def page(request: HttpRequest) -> HttpResponse:
        if takes_gzip(request.headers.get("accept-encoding", "")):
            return HttpResponse(packed, kind, headers=(*_HEADERS, ("Content-Encoding", "gzip")))
        return HttpResponse(content, kind, headers=_HEADERS)

    return page
