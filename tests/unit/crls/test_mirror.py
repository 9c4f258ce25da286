"""A node that serves the CRLs in force to others."""

import socket
from collections.abc import Iterator

import pytest

from dmvpn_agent.crls.mirror import CrlMirror
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_client import HttpAnswer, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.crl import read_crls
from pki import Party

ONE, TWO = Party("One CA"), Party("Two CA")


class Served:
    crls: tuple[bytes, ...] = ()
    url = ""

    async def get(self, path: str = "/crl.pem", *fields: tuple[str, str], method: str = "GET") -> HttpAnswer:
        return await ask(HttpQuestion(Url.parse(self.url + path), method, fields), Limits(10, 1 << 20))


@pytest.fixture
def served() -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = Served()
    served.url = f"http://127.0.0.1:{port}"
    mirror = CrlMirror(Endpoint("127.0.0.1", port), lambda: served.crls, Telemetry())
    mirror.start()
    yield served
    mirror.stop()


async def test_all_crls_in_force_are_served(served: Served) -> None:
    """In one document, which a node reads as any file of CRLs."""
    served.crls = ONE.revoke_der(7), TWO.revoke_der(8, 9)
    answer = await served.get()
    assert [set(crl.serials) for crl in read_crls(answer.body)] == [{7}, {8, 9}]


async def test_what_the_client_has_is_not_sent(served: Served) -> None:
    """Until there is another CRL."""
    served.crls = (ONE.revoke_der(7),)
    etag = ("If-None-Match", (await served.get()).headers["etag"])
    unchanged = await served.get("/crl.pem", etag)
    assert (unchanged.status, unchanged.body) == (304, b"")
    served.crls = (ONE.revoke_der(7, 8, number=2),)
    assert (await served.get("/crl.pem", etag)).status == 200


async def test_without_a_crl_there_is_no_document(served: Served) -> None:
    """An empty one would replace nothing either, but say that all is well."""
    assert (await served.get()).status == 404


async def test_nothing_else_is_served(served: Served) -> None:
    """No metrics, no other method."""
    served.crls = (ONE.revoke_der(7),)
    assert (await served.get("/metrics")).status == 404
    assert (await served.get("/../crl.pem")).status == 404
    assert (await served.get(method="POST")).status == 405
