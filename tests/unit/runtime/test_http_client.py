"""The HTTP client, against a server that sends anything."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from dmvpn_agent.runtime.http_client import HttpFailed, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.url import BadUrl, Url
from fakes.http import FakeHttp, answer, http_server
from pki import server_files

LIMITS = Limits(10, 1000)


async def fetch(server: FakeHttp, reply: bytes, limits: Limits = LIMITS) -> bytes:
    server.replies["/a"] = reply
    return (await ask(HttpQuestion(Url.parse(f"{server.url}/a")), limits)).body


async def test_an_answer_is_read_whole() -> None:
    """Status, fields and body; the request has the host and the header fields that were given."""
    async with http_server() as server:
        server.replies["/a?b=c"] = answer(b"text", "200 OK", 'ETag: "1"')
        got = await ask(HttpQuestion(Url.parse(f"{server.url}/a?b=c"), headers=(("X-One", "1"),)), LIMITS)
        assert (got.status, got.headers["etag"], got.body) == (200, '"1"', b"text")
        assert server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
        assert b"\r\nX-One: 1\r\n" in server.requests[0]


async def test_a_body_is_sent() -> None:
    """With its length."""
    async with http_server() as server:
        server.replies["/a"] = answer(b"thanks")
        got = await ask(HttpQuestion(Url.parse(f"{server.url}/a"), "POST", body=b"abc"), LIMITS)
        assert got.body == b"thanks"
        assert server.requests[0].endswith(b"Content-Length: 3\r\n\r\nabc")


async def test_an_answer_in_chunks_is_read() -> None:
    """As servers send what they do not know the length of."""
    async with http_server() as server:
        reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        assert await fetch(server, reply) == b"abcde"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "closed without|cut off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (answer(b"12345")[:-1], "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "cut off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "not HTTP"),
        (answer(b"a" * 1001), "longer than 1000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 100_000, "longer than 1000"),
    ],
)
async def test_an_answer_that_is_none_fails(reply: bytes, why: str) -> None:
    """Cut off, too long, or of another protocol."""
    async with http_server() as server:
        with pytest.raises(HttpFailed, match=why):
            await fetch(server, reply)


async def test_a_redirect_is_not_followed() -> None:
    """It is the answer, and its text names where it leads."""
    async with http_server() as server:
        server.replies["/a"] = answer(b"", "302 Found", f"Location: {server.url}/b")
        got = await ask(HttpQuestion(Url.parse(f"{server.url}/a")), LIMITS)
        assert got.status == 302
        assert f"{server.url}/b" in got.text
        assert len(server.requests) == 1


async def test_a_server_that_does_not_go_on_is_given_up() -> None:
    """The limit is for everything: a server that sends an octet now and then gains nothing."""
    async with http_server() as server:

        async def trickle(_: bytes) -> bytes:
            await asyncio.sleep(3600)
            return b""

        server.replies["/a"] = trickle
        with pytest.raises(HttpFailed, match=r"within 0\.2 s"):
            await ask(HttpQuestion(Url.parse(f"{server.url}/a")), Limits(0.2, 1000))


async def test_a_refused_connection_fails() -> None:
    """The text is the operating system's."""
    async with http_server() as server:
        url = server.url
    with pytest.raises(HttpFailed, match=r"(?i)connect"):
        await ask(HttpQuestion(Url.parse(url)), LIMITS)


async def test_a_name_that_cannot_be_encoded_fails() -> None:
    """As one that does not exist, whatever lets such a name through."""
    url = replace(Url.parse("http://a.example/x"), host="a..example")
    with pytest.raises(HttpFailed, match=r"a\.\.example is no name"):
        await ask(HttpQuestion(url), LIMITS)


async def test_tls_is_by_the_given_ca(tmp_path: Path) -> None:
    """A server of another CA is refused, and one with another name; one of the CA is asked."""
    certificate, key = server_files(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate, key)
    ours = ssl.create_default_context(cafile=certificate)
    async with http_server(served) as server:
        server.replies["/a"] = answer(b"secret")
        question = HttpQuestion(Url.parse(f"{server.url}/a"))
        assert (await ask(question, LIMITS, ours)).body == b"secret"
        with pytest.raises(HttpFailed, match="TLS: self"):
            await ask(question, LIMITS)
        other = HttpQuestion(Url.parse(f"{server.url}/a".replace("127.0.0.1", "127.0.0.2")))
        with pytest.raises(HttpFailed):
            await ask(other, LIMITS, ours)


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://crl.example.com/dmvpn-ca.crl", "crl.example.com", 80, "/dmvpn-ca.crl"),
        ("https://192.0.2.1:8443", "192.0.2.1", 8443, "/"),
        ("http://" + "a" * 63 + ".x-1_/", "a" * 63 + ".x-1_", 80, "/"),
        ("http://[2001:db8::1]:8080/a?b", "2001:db8::1", 8080, "/a?b"),
    ],
)
def test_a_url_is_read(text: str, host: str, port: int, target: str) -> None:
    """Host, port by its scheme, and what is asked for."""
    url = Url.parse(text)
    assert (url.host, url.port, url.target) == (host, port, target)


@pytest.mark.parametrize(
    "text",
    [
        "", "dmvpn-ca.crl", "ftp://a/b", "file:///etc/shadow", "ldap://ca/cn=a", "http://", "http://user@host/",
        "http://host/a b", "http://host/\r\nX: 1", "http://host:0/", "http://host:99999/", "http://ho st/",
        "http://[fe80::1%25eth0]/", "http://host/#a", "http://host\\@other/", "http://\u00e4/",
        "http://h/" + "a" * 3000, "http://a..b/x", "http://crl..example.com/x", "http://" + "a" * 64 + ".example/x",
        "http://.example.com/", "http://" + "a." * 127 + "a/",
    ],
)  # fmt: skip
def test_anything_else_is_no_url(text: str) -> None:
    """The error says what is expected."""
    with pytest.raises(BadUrl, match="expected a URL"):
        Url.parse(text)
