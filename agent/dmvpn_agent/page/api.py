"""The page's API: the documents that the commands print with ``--json`` (docs/json.md), by HTTP."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from dmvpn_agent.page.node import Answer, Node
from dmvpn_agent.runtime.document import Code, Document, RequestError, document, failure
from dmvpn_agent.runtime.http_coding import compressed, takes_gzip
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page
from dmvpn_agent.runtime.printable import printable_values
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stage_sections import sections
from dmvpn_agent.view.stages_text import TEXTS, remedy

PREFIX = "/api/v1"
#: Entries of the history in one answer.
LIMIT = 1000
_STATUSES: Mapping[str, HTTPStatus] = {
    Code.USAGE: HTTPStatus.BAD_REQUEST,
    Code.AMBIGUOUS: HTTPStatus.BAD_REQUEST,
    Code.NO_SUCH_PEER: HTTPStatus.NOT_FOUND,
}


class Api:
    """Serves what the nodes answer. ``?node=NAME`` names one; needed if there are several."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self.pages: Mapping[str, Page] = {
            f"{PREFIX}/nodes": self._all,
            f"{PREFIX}/status": lambda request: self._passed_on(request, "status", {}),
            f"{PREFIX}/peers": lambda request: self._passed_on(request, "peers", {}),
            f"{PREFIX}/peers/*": self._peer,
            f"{PREFIX}/stages/*": self._stages,
            f"{PREFIX}/history": self._history,
        }

    async def _all(self, request: HttpRequest) -> HttpResponse:
        await asyncio.gather(*(node.ask("status", {}) for node in self._nodes.values()))
        stages = {str(stage): {"title": TEXTS[stage].title, "do": TEXTS[stage].do} for stage in Stage}
        nodes = [node.as_json() for node in self._nodes.values()]
        return _sent(request, document("nodes/1", {"nodes": nodes, "stages": stages}))

    async def _peer(self, request: HttpRequest) -> HttpResponse:
        return await self._passed_on(request, "peer", {"peer": _last(request)})

    async def _history(self, request: HttpRequest) -> HttpResponse:
        try:
            wanted = _filter(request.query)
        except RequestError as error:
            return _sent(request, failure("error/1", error.code, str(error)))
        return await self._passed_on(request, "history", wanted)

    async def _stages(self, request: HttpRequest) -> HttpResponse:
        """Return what ``dmvpn-agent peer`` prints about each stage."""
        answer = await self._ask(request, "peer", {"peer": _last(request)})
        if not answer.ok:
            return _sent_as_it_is(request, answer)
        return _sent(request, _sections(answer.document["data"]))

    async def _passed_on(self, request: HttpRequest, command: str, arguments: Mapping[str, Any]) -> HttpResponse:
        try:
            return _sent_as_it_is(request, await self._ask(request, command, arguments))
        except RequestError as error:
            return _sent(request, failure("error/1", error.code, str(error)))

    async def _ask(self, request: HttpRequest, command: str, arguments: Mapping[str, Any]) -> Answer:
        """Return the answer of the node that a request names. Raises ``RequestError``."""
        name = request.query.get("node", [""])[0]
        node = self._nodes.get(name) if name or len(self._nodes) > 1 else next(iter(self._nodes.values()))
        if node is None:
            names = ", ".join(self._nodes)
            raise RequestError(Code.USAGE, f"no node is named {name!r:.80}; expected ?node= with one of {names}")
        return await node.ask(command, arguments)


def _last(request: HttpRequest) -> str:
    """Return what stands behind the page's own path."""
    return request.path.removeprefix(f"{PREFIX}/").partition("/")[2]


def _filter(query: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the arguments of ``history``. Raises ``RequestError``."""
    given = {key: values[0] for key, values in query.items() if key in {"peer", "since"}}
    limit = query.get("limit", [str(LIMIT)])[0]
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= LIMIT):
        raise RequestError(Code.USAGE, f"limit is {limit!r:.40}; expected a number from 1 to {LIMIT}")
    denied = {"denied": True} if query.get("denied", ["no"])[0] == "yes" else {}
    return {**given, **denied, "limit": int(limit)}


def _sections(data: Any) -> Document:
    """Return the document with the sections of a peer's document; a failure if that has another form."""
    try:
        peer = printable_values(data)["peer"]
        title, do = TEXTS[Stage(peer["stage"])].title, remedy(peer)
        made = [
            {"title": one.title, "state": str(one.state), "text": one.text}
            for one in sections(peer, datetime.now(UTC))
        ]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = f"{type(error).__name__} {error!s:.100}"
        message = f"the node describes the peer in another form than this program knows: {why}"
        return failure("error/1", Code.FAILED, message)
    return document("stages/1", {"title": title, "why": peer["why"], "do": do, "sections": made})


def _status(found: Document) -> HTTPStatus:
    if found["ok"] is True:
        return HTTPStatus.OK
    code = str(found["error"].get("code"))
    return _STATUSES.get(code, HTTPStatus.SERVICE_UNAVAILABLE)


def _sent_as_it_is(request: HttpRequest, answer: Answer) -> HttpResponse:
    packs = takes_gzip(request.headers.get("accept-encoding", ""))
    return _response(answer.packed if packs else answer.body, answer.document, packs=packs)


def _sent(request: HttpRequest, found: Document) -> HttpResponse:
    body = json.dumps(found).encode()
    packs = takes_gzip(request.headers.get("accept-encoding", ""))
    return _response(compressed(body) if packs else body, found, packs=packs)


def _response(body: bytes, found: Document, *, packs: bool) -> HttpResponse:
    headers = (("Vary", "Accept-Encoding"), ("Cross-Origin-Resource-Policy", "same-origin"))
    coding = (("Content-Encoding", "gzip"),) if packs else ()
    return HttpResponse(body, "application/json", _status(found), (*headers, *coding))
