"""Documents that clients fetch again and again, with conditional requests (RFC 9110, section 13)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus

from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse


@dataclass(frozen=True, slots=True)
class Document:
    """One document. ``modified``: since when it is as it is, if that is known. ``etag``: the content's validator."""

    body: bytes
    content_type: str
    modified: datetime | None = None
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        # Once: a CRL may have megabytes.
        object.__setattr__(self, "etag", f'"{sha256(self.body).hexdigest()[:32]}"')

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the document, or that the client has it already."""
        headers = [("ETag", self.etag), ("Cache-Control", "no-cache")]  # ask again before use
        if self.modified is not None:
            headers.append(("Last-Modified", format_datetime(self.modified.astimezone(UTC), usegmt=True)))
        if not self._is_known(request):
            return HttpResponse(self.body, self.content_type, headers=tuple(headers))
        length = ("Content-Length", str(len(self.body)))
        return HttpResponse(b"", self.content_type, HTTPStatus.NOT_MODIFIED, (*headers, length))

    def _is_known(self, request: HttpRequest) -> bool:
        if (tags := request.headers.get("if-none-match")) is not None:
            known = {one.strip().removeprefix("W/") for one in tags.split(",")}
            return "*" in known or self.etag in known
        if self.modified is None:
            return False
        try:
            since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
            return self.modified.replace(microsecond=0) <= since
        except (ValueError, TypeError, OverflowError):  # no date, one without zone, one of no calendar
            return False
