"""A node renews its certificate while packets pass: two real charons, the program as the timer runs it, and a CA."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from ca_registry import make_registry, signer_of
from contract.charon_pair import Side
from contract.charons import connection, needs_charon
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.issuing import issue
from dmvpn_agent.ca.node import HUBS
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.charon.commands import list_certificates, list_own_certificates
from dmvpn_agent.renewal.key_pair import KeyPair, KeyPairFiles
from dmvpn_agent.renewal.state import read_state
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.private_key import new_key, plain_pem
from fakes.est import est_server
from fakes.http import FakeHttp

pytestmark = [pytest.mark.contract, pytest.mark.timeout(300), needs_charon(sas=True)]

CONFIG = """\
role = "spoke"
[ike]
vici_socket = "{vici}"
[policy]
tunnel_networks = ["10.255.0.0/24"]
ca_certificates = ["{folder}/x509ca"]
[renewal]
server = "{server}"
certificate = "{folder}/x509/node.pem"
key = "{folder}/private/node.pem"
state_directory = "{folder}/state"
"""


class Stand:
    """A hub and a spoke with an IKE_SA, the CA of both, and its EST server."""

    def __init__(self, folder: Path, place: ResourcesIn) -> None:
        self.folder = folder
        # Certificates of two days, made long enough ago that they are due.
        self.made = utc_now() - timedelta(days=1, hours=12)
        settings = Settings(resources_in=place, node_days=2)
        self.database: Database = make_registry(folder / "registry", settings, utc_now() - timedelta(days=3))
        self.sides = self.hub, self.spoke = Side(folder, 1, make_before_break=True), Side(
            folder, 2, make_before_break=True
        )  # fmt: skip
        self.spoke_id = 0
        self.issued: list[x509.Certificate] = []

    def issue(self, request: x509.CertificateSigningRequest) -> list[x509.Certificate]:
        """As the CA's server does: of the request only the key counts."""
        with self.database.writing() as connection:
            node = find_node(connection, self.spoke_name)
            self.issued.append(
                issue(connection, signer_of(connection, utc_now()), node, request.public_key(), utc_now())
            )
        return self.issued[-1:]

    async def prepare(self) -> None:
        self.hub.link(self.spoke)
        for name in ("x509", "x509ca", "private"):
            (self.folder / name).mkdir()
        with self.database.writing() as connection:
            add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"),)), None)
            self.signer = signer_of(connection, self.made)
            self.spoke_name = add_node(connection, "FIN")
            names = {self.hub: add_node(connection, HUBS), self.spoke: self.spoke_name}
        (self.folder / "x509ca" / "ca.pem").write_bytes(chain_pem(self.signer.authority.chain))
        for side, other in ((self.hub, self.spoke), (self.spoke, self.hub)):
            await side.start()
            key = new_key()
            with self.database.writing() as connection:
                node = find_node(connection, names[side])
                certificate = issue(connection, self.signer, node, key.public_key(), self.made)
            await self._load(side, other, key, certificate)
            if side is self.spoke:
                (self.folder / "private" / "node.pem").write_bytes(plain_pem(key))
                (self.folder / "x509" / "node.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
                self.first = certificate
        await self.spoke.ask("initiate", {"child": "dmvpn", "timeout": "20000"})

    async def _load(self, side: Side, other: Side, key: ec.EllipticCurvePrivateKey, own: x509.Certificate) -> None:
        identity = {"id": f"asn1dn:#{own.subject.public_bytes().hex()}"}
        made = connection(identity, side.host, other.host, f"{side.inner}/32", f"{other.inner}/32")
        async with side.session() as session:
            for authority in self.signer.authority.chain:
                data = authority.public_bytes(Encoding.PEM)
                await session.request("load-cert", {"type": "X509", "flag": "CA", "data": data})
            await session.request("load-key", {"type": "any", "data": plain_pem(key)})
            data = own.public_bytes(Encoding.DER)
            await session.request("load-cert", {"type": "X509", "flag": "NONE", "data": data})
            await session.request("load-conn", {"dmvpn": made})

    def server_files(self) -> tuple[bytes, bytes]:
        """A certificate for TLS by the same CA."""
        key, now = new_key(), utc_now()
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.signer.authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(4711)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(names, critical=True)
            .sign(self.signer.key, SHA384())
        )
        return certificate.public_bytes(Encoding.PEM), plain_pem(key)

    async def renew(self, server: FakeHttp, *words: str) -> tuple[int, str]:
        """Run the command as the timer does; return its status and what it printed."""
        config = self.folder / "agent.toml"
        config.write_text(CONFIG.format(vici=self.spoke.path, folder=self.folder, server=server.url))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dmvpn_agent.cli", "renew", "--config", str(config), *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    async def hub_knows(self) -> set[bytes]:
        async with self.hub.session() as session:
            return set(await list_certificates(session))

    async def own(self) -> list[bytes]:
        async with self.spoke.session() as session:
            return await list_own_certificates(session)


@asynccontextmanager
async def stand(folder: Path, place: ResourcesIn) -> AsyncIterator[tuple[Stand, FakeHttp]]:
    made = Stand(folder, place)
    try:
        await made.prepare()
        clients = [made.first.public_bytes(Encoding.DER)]
        async with est_server(folder, made.server_files(), clients, made.issue) as server:
            yield made, server
    finally:
        for side in made.sides:
            side.stop()


@pytest.mark.parametrize("place", list(ResourcesIn))
async def test_a_node_renews_itself_and_loses_no_packet(tmp_path: Path, place: ResourcesIn) -> None:
    """Key, certificate and IKE_SA are new, the hub has seen the new certificate, and the packets came.

    What the hub sends in the milliseconds before the spoke has verified its answer is lost (RFC 7296, section 2.8: it
    may send as soon as it has answered), so at most one packet in flight on an idle machine.
    """
    async with stand(tmp_path, place) as (made, server):
        key = (tmp_path / "private" / "node.pem").read_bytes()
        (before,) = await made.spoke.sas()
        words = ("ping", "-i", "0.02", "-c", "400", "-W", "1", "-q", "-I", made.spoke.inner, made.hub.inner)
        ping = asyncio.create_task(asyncio.to_thread(made.spoke.space.run, *words))
        status, printed = await made.renew(server)
        assert status == 0, printed
        assert "renewed and in use" in printed
        result = await ping
        received = int(result.partition(" received")[0].rpartition(" ")[2])
        print(f"{400 - received} of 400 packets lost")
        assert received >= 390
        (after,) = await made.spoke.sas()
        assert after.unique_id != before.unique_id
        new = made.issued[0].public_bytes(Encoding.DER)
        assert new in await made.hub_knows()
        assert new in await made.own()
        assert (tmp_path / "private" / "node.pem").read_bytes() != key
        assert (tmp_path / "state" / "former-key.pem").read_bytes() == key
        assert server.clients == [made.first.public_bytes(Encoding.DER)]
        status, printed = await made.renew(server)
        assert (status, len(made.issued)) == (0, 1), printed
        assert "not due" in printed
        assert [sa.unique_id for sa in await made.spoke.sas()] == [after.unique_id]


async def test_what_was_interrupted_is_finished(tmp_path: Path) -> None:
    """Killed after the files were replaced: the next run has charon use them, and asks the CA for nothing."""
    async with stand(tmp_path, ResourcesIn.SUBJECT) as (made, server):
        (tmp_path / "state").mkdir()
        key = new_key()
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA384())
        (certificate,) = made.issue(request)
        pair = KeyPair(key, certificate)
        KeyPairFiles(tmp_path / "x509" / "node.pem", tmp_path / "private" / "node.pem", tmp_path / "state").replace(
            pair
        )
        status, printed = await made.renew(server)
        assert (status, server.requests) == (0, []), printed
        assert certificate.public_bytes(Encoding.DER) in await made.hub_knows()


async def test_a_connection_with_a_fixed_certificate_is_not_renewed(tmp_path: Path) -> None:
    """charon would go on showing it; the command says what to write instead, and asks the CA for nothing."""
    async with stand(tmp_path, ResourcesIn.SUBJECT) as (made, server):
        await made.spoke.show(made.first.public_bytes(Encoding.DER), made.hub)
        status, printed = await made.renew(server)
        assert (status, server.requests) == (1, [])
        assert "renew --identity" in printed
        status, printed = await made.renew(server, "--identity")
        assert (status, printed) == (0, f'id = "asn1dn:#{made.first.subject.public_bytes().hex()}"\n')
        assert read_state(tmp_path / "state").failures == 1
