"""A spoke is revoked at the CA, and out on both hubs, without anybody's hand on them.

The CA publishes its CRL in a directory that a web server serves; the hubs' agents fetch it from where their own
certificates say that it is. Each hub has a charon, and the spoke one for each hub: ESP is in user space here.
"""

import asyncio
import functools
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from time import monotonic

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca_registry import PASSPHRASE, make_registry, signer_of
from contract import charons
from contract.agent import Agent
from contract.charon_pair import Side
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.issuing import issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.charon.session import CommandFailed
from dmvpn_agent.cli.main import main
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.private_key import new_key, plain_pem
from factories import event
from fakes.waiting import until_now

pytestmark = [
    pytest.mark.contract,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.geteuid() != 0 or not charons.available(sas=True), reason="needs root and a charon with kernel-libipsec"
    ),
]

INTERVAL = 2
CONFIG = """\
role = "hub"
state_directory = "{directory}"
control_socket = "{directory}/control.sock"
[nhrp]
event_socket = "{directory}/nhrp.sock"
[ike]
vici_socket = "{vici}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
allowed_networks = ["10.0.0.0/8"]
ca_certificates = ["{directory}/ca.pem"]
confirm_certificates = false
[crl]
fetch = true
interval_seconds = {interval}
[frr]
vtysh = "{directory}/no-vtysh"
vty_directory = "{directory}"
[bgp]
enabled = false
[redirect]
enabled = false
[source_filter]
mode = "off"
[metrics]
listen = ""
"""


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a directory, as any web server does; yield its address, and the answers it gave."""
    answers: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            answers.append(str(getattr(code, "value", code)))

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
    finally:
        server.shutdown()
        server.server_close()


class Node:
    """One of the certificate's holders: key and certificate in PEM, and the certificate in DER."""

    def __init__(self, database: Database, site: str) -> None:
        now, key = utc_now(), new_key()
        with database.writing() as connection:
            signer = signer_of(connection, now)
            node = find_node(connection, add_node(connection, site))
            certificate = issue(connection, signer, node, key.public_key(), now)
        self.name, self.address = node.name, str(node.addresses[0])
        self.key, self.certificate = plain_pem(key), certificate.public_bytes(Encoding.DER)
        self.authorities = [chain_pem((one,)) for one in signer.authority.chain]

    async def load(self, side: Side, other: Side) -> None:
        async with side.session() as session:
            await session.request("load-key", {"type": "any", "data": self.key})
            for authority in self.authorities:
                await session.request("load-cert", {"type": "X509", "flag": "CA", "data": authority})
            own = {"type": "X509", "flag": "NONE"}
            await session.request("load-cert", own | {"data": self.certificate})
        await side.show(self.certificate, other)


@asynccontextmanager
async def hub_with_spoke(folder: Path, hub: Node, spoke: Node) -> AsyncIterator[tuple[Agent, Side]]:
    """A hub's agent and charon, and the spoke's charon with an IKE_SA between them."""
    folder.mkdir()
    sides = one, other = Side(folder, 1, make_before_break=True), Side(folder, 2, make_before_break=True)
    (folder / "ca.pem").write_bytes(b"".join(hub.authorities))
    values = {"vici": one.path, "interval": INTERVAL, "directory": folder}
    agent = Agent(folder, CONFIG.format(**values).replace("{", "{{").replace("}", "}}"))
    try:
        one.link(other)
        for side in sides:
            await side.start()
        await hub.load(one, other)
        await spoke.load(other, one)
        await other.ask("initiate", {"child": "dmvpn", "timeout": "20000"})
        agent.start()
        yield agent, other
    finally:
        agent.kill()
        for side in sides:
            side.stop()


def accepts(agent: Agent, spoke: Node) -> bool:
    question = event(
        der_hex=spoke.certificate.hex(),
        remote_addr=spoke.address,
        remote_nbma="203.0.113.2",
        local_nbma="203.0.113.1",
    )
    return b"result=accept" in agent.ask(question)


async def test_a_revoked_spoke_is_out_on_both_hubs(tmp_path: Path) -> None:
    """Within the CRL's interval: its IKE_SAs end, it is denied, and charon itself refuses the next one."""
    published = tmp_path / "published"
    published.mkdir()
    secret = tmp_path / "passphrase"
    secret.write_bytes(PASSPHRASE)
    registry = tmp_path / "registry"
    with web_server(published) as (url, answers):
        settings = Settings(crl_urls=(f"{url}/dmvpn-ca.crl",), crl_directory=str(published))
        database = make_registry(registry, settings, utc_now())
        with database.writing() as connection:
            add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"),)), None)
        hubs, spoke = [Node(database, HUBS) for _ in range(2)], Node(database, "FIN")
        operator = ("--database", str(registry), "--passphrase-file", str(secret))
        assert main(["ca", "crl", *operator]) == 0
        async with AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(hub_with_spoke(tmp_path / hub.name, hub, spoke)) for hub in hubs]
            for agent, _ in ends:
                await asyncio.to_thread(agent.wait_for, "crl_fetched")
                assert await asyncio.to_thread(accepts, agent, spoke)
            await asyncio.to_thread(until_now, lambda: "304" in answers)  # what has not changed is not sent
            assert main(["ca", "revoke", spoke.name, *operator]) == 0
            revoked_at = monotonic()
            for agent, other in ends:
                async with asyncio.timeout(30):
                    while await other.sas():
                        await asyncio.sleep(0.02)
                assert not await asyncio.to_thread(accepts, agent, spoke)
            print(f"out on both hubs {monotonic() - revoked_at:.2f} s after `ca revoke`, interval {INTERVAL} s")
            for agent, other in ends:
                assert (await agent.status_now())["trust"]["crls"][0]["revoked"] == 1
                with pytest.raises(CommandFailed):
                    await other.ask("initiate", {"child": "dmvpn", "timeout": "20000"})
