"""The page's API over HTTP, beside an agent's control socket."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.page.node import AT_ONCE
from dmvpn_agent.page.settings import NodeSettings
from dmvpn_agent.runtime.control_client import ask as ask_socket
from dmvpn_agent.runtime.control_socket import Answer, Request
from dmvpn_agent.runtime.document import Document
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.view.stage import Stage
from documented import documented
from fakes.agents import FakeAgent, crowd, peer, serving
from fakes.waiting import until
from page_process import Client, page


class Direct:
    """A source without a socket."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def ask(self, command: str, arguments: Mapping[str, Any]) -> Document:
        found = await self._answer(Request(command, arguments))
        assert isinstance(found, dict)
        return found


ODD = "spoke/../7?x=<b>"


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[FakeAgent]:
    peers = [*crowd(12), peer(77, Stage.DENIED, ODD)]
    async with serving(tmp_path / "control.sock", FakeAgent(peers)) as agent:
        yield agent


@pytest.fixture
async def client(tmp_path: Path, agent: FakeAgent) -> AsyncIterator[Client]:
    async with page(tmp_path / "control.sock") as client:
        yield client


def _still(document: object) -> object:
    """Return a document without what differs from one moment to the next."""
    found = json.loads(json.dumps(document))
    for one in (found["data"] or {}).get("history", []) + (found["data"] or {}).get("entries", []):
        one["time"] = one["last"] = None
    if isinstance(found["data"], dict):
        found["data"].pop("started", None)
    return {key: found[key] for key in ("schema", "ok", "error", "data")}


async def test_the_api_sends_the_documents_of_the_control_socket(tmp_path: Path, client: Client) -> None:
    """Also a failure, with a status that says so."""
    for path, command, arguments in (
        ("status", "status", {}),
        ("peers", "peers", {}),
        ("peers/spoke3", "peer", {"peer": "spoke3"}),
        ("history?limit=5", "history", {"limit": 5}),
        ("peers/nobody", "peer", {"peer": "nobody"}),
    ):
        found = await client.document(path)
        assert _still(found) == _still(await ask_socket(tmp_path / "control.sock", command, arguments)), path
        assert found["status"] == (200 if found["ok"] else 404)


async def test_the_documents_of_the_page_are_documented(client: Client) -> None:
    """Every key of the two that the control socket does not have is a row of docs/json.md, and the other way."""
    for path, rows in (("nodes", "nodes"), ("stages/spoke3", "sections")):
        answer = await client.document(path)
        data = answer["data"]
        found = {*data, *(f"{rows}[].{key}" for one in data[rows] for key in one)}
        assert found == documented(answer["schema"])


async def test_a_peer_is_found_by_any_name(client: Client) -> None:
    """A name may have any character; what stands in a path names no file."""
    word = "spoke%2F..%2F7%3Fx%3D%3Cb%3E"
    assert (await client.document(f"peers/{word}"))["data"]["peer"]["name"] == ODD
    assert (await client.document("peers/10.255.0.77"))["data"]["peer"]["name"] == ODD
    stages = (await client.document(f"stages/{word}"))["data"]
    assert [one["state"] for one in stages["sections"]] == ["open", "open", "open", "failed", "open", "open"]
    assert stages["title"] == "denied"


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/static/page.css", "/../page.css", "//page.css", "/%00",
                                  "/api/v1/", "/api/v1/kick", "/api/v1/events", "/agent.toml"])  # fmt: skip
async def test_there_are_no_other_paths(client: Client, path: str) -> None:
    """The files of the page are in memory, and the API only looks."""
    assert (await client.get(path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_there_are_no_other_methods(client: Client, method: str) -> None:
    """Nothing can be changed."""
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{method} /api/v1/peers HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(100).split()[1] in {b"405", b"400"}


async def test_the_stages_are_those_of_the_command(client: Client) -> None:
    """What is before the stage is passed, and what comes after it is open."""
    found = (await client.document("stages/spoke2"))["data"]
    assert {one["state"] for one in found["sections"]} == {"passed"}
    nobody = await client.document("stages/nobody")
    assert (nobody["status"], nobody["error"]["code"]) == (404, "no_such_peer")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=" + "9" * 400])
async def test_the_history_is_bounded(client: Client, agent: FakeAgent, query: str) -> None:
    """A request for more is refused before the agent is asked."""
    found = await client.document(f"history?{query}")
    assert (found["status"], found["error"]["code"]) == (400, "usage")
    assert not [request for request in agent.asked if request.command == "history"]


async def test_many_browsers_cost_the_agent_one_request(client: Client, agent: FakeAgent) -> None:
    """At the same time, and within a second."""
    await asyncio.gather(*(client.document("peers") for _ in range(20)))
    await client.document("peers")
    assert len([request for request in agent.asked if request.command == "peers"]) <= 2


async def test_many_questions_about_peers_delay_nobody_else(client: Client, agent: FakeAgent) -> None:
    """A few at a time are asked of the node; the list of its peers does not wait for them."""
    release, waiting = asyncio.Event(), 0
    answer = agent.answer

    async def held(request: Request) -> Document | AsyncIterator[Document]:
        nonlocal waiting
        if request.command == "peer":
            waiting += 1
            await release.wait()
        return await answer(request)

    (node,) = client.app.nodes
    node._source = Direct(held)
    asked = [asyncio.create_task(client.document(f"peers/spoke{number}")) for number in range(2, 12)]
    await until(lambda: waiting == AT_ONCE)
    assert (await client.document("peers"))["ok"] is True
    assert waiting == AT_ONCE
    client.app._server._loop.call_soon_threadsafe(release.set)  # type: ignore[union-attr]
    assert all([(await one)["ok"] for one in asked])


async def test_an_answer_is_compressed_for_who_takes_it(client: Client) -> None:
    """And plain otherwise."""
    packed = await client.get("/api/v1/peers", ("Accept-Encoding", "gzip"))
    assert packed.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(packed.body))["data"]["peers"]) == 13


@pytest.mark.parametrize(("host", "status"), [
    ("localhost", 200), ("LOCALHOST:19344", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("dmvpn.example.org", 200),
    ("DMVPN.example.org.:443", 200), ("evil.example", 421), ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421), ("dmvpn.example.org.evil.example", 421), ("[evil]", 421), ("", 421),
])  # fmt: skip
async def test_only_known_names_are_answered(tmp_path: Path, agent: FakeAgent, host: str, status: int) -> None:
    """A site whose name resolves to this machine cannot read the page (DNS rebinding)."""
    async with page(tmp_path / "control.sock", names=frozenset({"dmvpn.example.org"})) as client:
        address, port = client.url.removeprefix("http://").split(":")
        for path in ("/", "/api/v1/peers", "/page.css", "/metrics"):
            with socket.create_connection((address, int(port)), timeout=30) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = await asyncio.to_thread(connection.recv, 100)
                assert int(head.split()[1]) == status, path


async def test_everything_asks_for_the_password(tmp_path: Path, agent: FakeAgent) -> None:
    """But not whether the process runs."""
    users, token = tmp_path / "users", tmp_path / "token"
    users.write_text("eve:secret\n")
    token.write_text("abc\n")
    async with page(tmp_path / "control.sock", access=HttpAccess(users=users, token=token)) as client:
        for path in ("/", "/main.js", "/api/v1/nodes", "/api/v1/peers/spoke3", "/metrics", "/readyz"):
            assert (await client.get(path)).status == 401, path
            assert (await client.get(path, ("Authorization", "Bearer abd"))).status == 401, path
            assert (await client.get(path, ("Authorization", "Bearer abc"))).status == 200, path
        assert (await client.get("/healthz")).status == 200
        assert not [one for one in agent.asked if one.command == "kick"]


async def test_scripts_and_data_are_the_pages_own(client: Client) -> None:
    """The browser runs nothing else, and shows the page in no frame."""
    for path in ("/", "/main.js", "/page.css", "/icon.svg"):
        headers = (await client.get(path)).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    assert (await client.get("/api/v1/peers")).headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_page_of_several_nodes_must_be_told_which(tmp_path: Path, agent: FakeAgent) -> None:
    """The names are in the answer."""
    nodes = [NodeSettings(name, tmp_path / "control.sock") for name in ("hub1", "hub2")]
    async with page(tmp_path / "none", *nodes) as client:
        for query in ("", "?node=hub3"):
            found = await client.document(f"peers{query}")
            assert (found["status"], found["error"]["code"]) == (400, "usage")
            assert "hub1, hub2" in found["error"]["message"]
        assert (await client.document("peers?node=hub2"))["ok"] is True


async def test_a_node_that_is_away_is_told_with_its_reason_and_age(tmp_path: Path) -> None:
    """It is never healthy: what is known of it is of its last answer."""
    async with page(tmp_path / "control.sock") as client:
        (node,) = (await client.document("nodes"))["data"]["nodes"]
        assert (node["reachable"], node["answered_at"], node["status"]) == (False, None, None)
        assert "is the agent running?" in node["why"]
        assert "is the agent running?" in (await client.get("/readyz")).body.decode()
        async with serving(tmp_path / "control.sock", FakeAgent(crowd(3))):
            client.app.nodes[0]._running.clear()
            (node,) = (await client.document("nodes"))["data"]["nodes"]
            assert (node["reachable"], node["why"], node["status"]["role"]) == (True, "", "hub")
        client.app.nodes[0]._running.clear()
        (node,) = (await client.document("nodes"))["data"]["nodes"]
        assert (node["reachable"], node["status"]["role"]) == (False, "hub")
        assert node["age_seconds"] is not None
        found = await client.document("peers")
        assert (found["status"], found["error"]["code"], found["data"]) == (503, "unreachable", None)
        metrics = (await client.get("/metrics")).body.decode()
        assert 'dmvpn_agent_page_node_up{node="' in metrics
        assert 'dmvpn_agent_page_reads_total{outcome="answered"} 1' in metrics
