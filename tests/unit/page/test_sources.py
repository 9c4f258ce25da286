"""What the page makes of the answers of another node, whatever they are."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.page import sources
from dmvpn_agent.page.node import Node
from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.page.sources import PageSource, SocketSource
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.http_client import Limits
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.url import Url
from fakes.agents import FakeAgent, crowd, peer, serving
from fakes.http import answer, http_server
from page_process import page
from pki import server_files

PEERS = b'{"schema": "peers/1", "ok": true, "error": null, "data": {"counts": {}, "peers": []}}'
JSON = "Content-Type: application/json"


async def _read(url: str, **settings: Any) -> tuple[bool, str]:
    """Return whether a node at the URL is reachable, and why not."""
    source = PageSource(Url.parse(url), NodeSettings("hub1", Url.parse(url), **settings))
    node = Node("hub1", source, Telemetry(), utc_now, timeout=5)
    found = await node.ask("peers", {})
    assert found.ok is node.as_json()["reachable"]
    return found.ok, node.state.why


PATHS = ("peers", "status", "peers/spoke3", "peers/odd%2Fn%C3%A4me%20%3F", "history?limit=3", "stages/spoke3",
         "history?denied=yes")  # fmt: skip


async def test_a_page_reads_another_page(tmp_path: Path) -> None:
    """The same documents, through both."""
    agent, path = FakeAgent([*crowd(5), peer(9, name="odd/näme ?")]), tmp_path / "control.sock"
    async with serving(path, agent), page(path) as hub, page(path, NodeSettings("hub1", Url.parse(hub.url))) as fleet:
        for word in PATHS:
            ours, theirs = await hub.document(word), await fleet.document(word)
            assert (theirs["status"], theirs["ok"]) == (200, True), word
            if word == "peers":
                assert ours == theirs


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answer(b"<html>", "200 OK", "Content-Type: text/html"), "is this the URL of a page"),
        (answer(b"\x00\xff garbage", "200 OK", JSON), "Expecting value"),
        (answer(b"[" * 100_000, "200 OK", JSON), "nested too deep"),
        (answer(b"[]", "200 OK", JSON), "no answer of this form"),
        (answer(PEERS.replace(b"peers/1", b"peers/9"), "200 OK", JSON), "expected peers/1"),
        (answer(PEERS.replace(b"{}", b"NaN"), "200 OK", JSON), "JSON compliant"),
        (answer(b'{"schema":"x","ok":false,"error":null,"data":null}', "503 No", JSON), "without a reason"),
        (answer(b"", "302 Found", "Location: http://169.254.169.254/secret"), "a redirect"),
        (answer(b"", "401 Unauthorized"), "token_file"),
        (answer(b"", "421 Misdirected Request"), "page.names"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "not HTTP"),
        (b"", "not HTTP, or cut off"),
        (answer(PEERS[:20], "200 OK", JSON).replace(b"Length: 20", b"Length: 90"), "cut off"),
        (answer(b"no gzip", "200 OK", JSON, "Content-Encoding: gzip"), "not gzip"),
    ],
)
async def test_what_is_no_answer_is_shown_as_that(reply: bytes, why: str) -> None:
    """The node is not reachable, and the reason names what came."""
    async with http_server() as server:
        server.replies["/api/v1/peers"] = reply
        reachable, text = await _read(server.url)
        assert not reachable
        assert why in text


async def test_no_redirect_is_followed() -> None:
    """A node cannot make the page ask another server."""
    async with http_server() as server:
        server.replies["/api/v1/peers"] = answer(b"", "302 Found", f"Location: {server.url}/elsewhere")
        assert (await _read(server.url))[0] is False
        assert len(server.requests) == 1


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_of_any_length_costs_a_bounded_amount(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Also one that becomes long only when it is unpacked."""
    monkeypatch.setattr(sources, "LIMITS", Limits(5, 1 << 20))
    body = b" " * (8 << 20)
    reply = answer(gzip.compress(body, 1), "200 OK", JSON, "Content-Encoding: gzip") if packed else b""

    async def endless(_: bytes) -> bytes:
        return answer(body, "200 OK", JSON)

    async with http_server() as server:
        server.replies["/api/v1/peers"] = reply or endless
        reachable, why = await _read(server.url)
        assert not reachable
        assert "longer than" in why


async def test_a_node_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page says after how long."""
    monkeypatch.setattr(sources, "LIMITS", Limits(0.1, 1 << 20))

    async def never(_: bytes) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with http_server() as server:
        server.replies["/api/v1/peers"] = never
        reachable, why = await _read(server.url)
        assert (reachable, "within 0.1 s" in why) == (False, True)


async def test_a_page_that_asks_itself_ends(tmp_path: Path) -> None:
    """A wrong URL costs a time-out, not the process."""
    async with page(tmp_path / "none") as client:
        (node,) = client.app.nodes
        url = Url.parse(client.url)
        node._source = PageSource(url, NodeSettings("self", url))
        node._timeout = 0.5
        assert (await client.document("peers"))["status"] == 503
        assert (await client.get("/healthz")).status == 200


async def test_tls_and_the_token_are_used(tmp_path: Path) -> None:
    """A certificate of an unknown CA is refused, and so is no token, or a wrong one."""
    certificate, key = server_files(tmp_path)
    token = tmp_path / "token"
    token.write_text("abc\n")
    access = HttpAccess(certificate=certificate, key=key, token=token)
    agent = FakeAgent(crowd(3))
    async with serving(tmp_path / "control.sock", agent), page(tmp_path / "control.sock", access=access) as hub:
        url = hub.url.replace("http:", "https:")
        assert await _read(url, authorities=certificate, token=token) == (True, "")
        assert "certificate" in (await _read(url, token=token))[1]
        assert "token_file" in (await _read(url, authorities=certificate))[1]
        assert "missing.pem" in (await _read(url, authorities=tmp_path / "missing.pem"))[1]


async def test_a_socket_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    """Missing, or nobody listens."""
    with pytest.raises(OSError, match="is the agent running"):
        await SocketSource(tmp_path / "none").ask("peers", {})
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is the agent running"):
        await SocketSource(tmp_path / "file").ask("peers", {})


async def test_answers_that_are_no_documents_of_peers_are_still_documents(tmp_path: Path) -> None:
    """Stages of a peer of another form are a failure, and the connection goes on."""

    async with http_server() as server:
        body = {"schema": "peer/1", "ok": True, "error": None, "data": {"peer": {"stage": ["<b>"]}}}
        server.replies["/api/v1/peers/x"] = answer(json.dumps(body).encode(), "200 OK", JSON)
        async with page(tmp_path / "none", NodeSettings("odd", Url.parse(server.url))) as client:
            found = await client.document("stages/x")
            assert (found["status"], found["error"]["code"]) == (503, "failed")
