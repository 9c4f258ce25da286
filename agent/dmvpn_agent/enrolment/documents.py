"""What anybody may fetch: the CRLs and the CA certificates."""

from dmvpn_agent.runtime.http_document import Document
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page


class Documents:
    """The documents of the server, by path. Its threads read them while they are replaced."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def put(self, path: str, document: Document) -> None:
        """Serve a document from now on."""

        async def page(request: HttpRequest) -> HttpResponse:
            return document.answer(request)

        self.pages[path] = page
