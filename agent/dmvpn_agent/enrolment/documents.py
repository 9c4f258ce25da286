"""What anybody may fetch: the CRLs and the CA certificates, with conditional requests (RFC 9110, section 13)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus

from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page


@dataclass(frozen=True, slots=True)
class Document:
    """One document; ``modified``: since when it is as it is."""

    body: bytes
    content_type: str
    modified: datetime

    @property
    def etag(self) -> str:
        """Return the strong validator of the content."""
        return f'"{sha256(self.body).hexdigest()[:32]}"'

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the document, or that the client has it already."""
        headers = (
            ("ETag", self.etag),
            ("Last-Modified", format_datetime(self.modified.astimezone(UTC), usegmt=True)),
            ("Cache-Control", "no-cache"),  # ask again before use
        )
        if not self._is_known(request):
            return HttpResponse(self.body, self.content_type, headers=headers)
        length = ("Content-Length", str(len(self.body)))
        return HttpResponse(b"", self.content_type, HTTPStatus.NOT_MODIFIED, (*headers, length))

    def _is_known(self, request: HttpRequest) -> bool:
        if (tags := request.headers.get("if-none-match")) is not None:
            known = {one.strip().removeprefix("W/") for one in tags.split(",")}
            return "*" in known or self.etag in known
        try:
            since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
            return self.modified.replace(microsecond=0) <= since
        except (ValueError, TypeError, OverflowError):  # no date, one without zone, one of no calendar
            return False


class Documents:
    """The documents of the server, by path. Its threads read them while they are replaced."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def put(self, path: str, document: Document) -> None:
        """Serve a document from now on."""

        async def page(request: HttpRequest) -> HttpResponse:
            return document.answer(request)

        self.pages[path] = page
