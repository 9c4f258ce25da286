"""The page in this process, and what a browser or curl reads of it."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmvpn_agent.config.page_file import PageConfig
from dmvpn_agent.page.settings import NodeSettings, PageSettings
from dmvpn_agent.page_app import PageApp
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_client import HttpAnswer, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.runtime.url import Url

LIMITS = Limits(30.0, 64 << 20)


def free_endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


class Client:
    """Asks a page. ``url``: without a slash at its end."""

    def __init__(self, url: str, app: PageApp) -> None:
        self.url = url
        self.app = app

    async def get(self, path: str, *headers: tuple[str, str]) -> HttpAnswer:
        return await ask(HttpQuestion(Url.parse(self.url + path), headers=headers), LIMITS)

    async def document(self, path: str) -> dict[str, Any]:
        """Return a document of the API, with the status as ``status``."""
        answer = await self.get(f"/api/v1/{path}")
        assert answer.headers["content-type"] == "application/json"
        found: dict[str, Any] = json.loads(answer.body)
        return {**found, "status": answer.status}


@asynccontextmanager
async def page(control_socket: Path, *nodes: NodeSettings, **settings: Any) -> AsyncIterator[Client]:
    """Serve the page of an agent, or of nodes."""
    endpoint = free_endpoint()
    made = replace(PageSettings(endpoint, nodes=nodes), **settings)
    app = PageApp(PageConfig(Log("info", "json"), control_socket, made))
    await app.start()
    try:
        yield Client(f"http://{endpoint}", app)
    finally:
        await app.stop()
