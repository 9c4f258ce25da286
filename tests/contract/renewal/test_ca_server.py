"""A node enrols at the CA's own server, and renews there: the programs of both sides."""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca_registry import PASSPHRASE, make_registry
from contract.charons import RealCharon, needs_charon
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.settings import ResourcesIn, Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.cli.main import main
from dmvpn_agent.config.file import read_config
from dmvpn_agent.renewal.candidate import Judgement
from dmvpn_agent.renewal.est import read_key
from dmvpn_agent.renewal.identity import swanctl_identity
from dmvpn_agent.renewal.renewer import Renewer
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.enrol import Enrolment, enrol, forget_key
from dmvpn_agent.setup.refusal import Refused
from dmvpn_agent.x509.authorities import read_authorities
from dmvpn_agent.x509.private_key import plain_pem
from dmvpn_agent.x509.trust_store import TrustStore
from fakes.waiting import until_now

pytestmark = [pytest.mark.contract, pytest.mark.timeout(180)]


#: Starts Python with the words behind it, as systemd does for ``MemoryDenyWriteExecute``: prctl(PR_SET_MDWE).
_HARDENED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # kernels before 6.3 do not know it
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class CaServer:
    """``dmvpn-agent ca serve`` with a registry of its own, and its operator."""

    def __init__(self, folder: Path, place: ResourcesIn) -> None:
        self.folder = folder
        self.registry, self.secret = folder / "registry", folder / "passphrase"
        self.secret.write_bytes(PASSPHRASE)
        settings = Settings(resources_in=place, crl_urls=("http://192.0.2.1/dmvpn-ca.crl",))
        database: Database = make_registry(self.registry, settings, utc_now() - timedelta(days=3), with_issuing=True)
        with database.writing() as connection:
            add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"),)), None)
            self.node = add_node(connection, "FIN")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.log = folder / "server.log"

    def start(self) -> None:
        words = ("--database", str(self.registry), "--passphrase-file", str(self.secret))
        listen = ("--listen", f"127.0.0.1:{self.port}", "--name", "127.0.0.1")
        with self.log.open("wb") as log:
            argv = [sys.executable, "-c", _HARDENED, "-m", "dmvpn_agent.cli", "ca", "serve", *words, *listen]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        until_now(self._answers, within=120)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def token(self, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
        """As the operator gets it: a token and the CA's fingerprint."""
        capsys.readouterr()
        assert main(["ca", "token", self.node, "--database", str(self.registry)]) == 0
        printed = capsys.readouterr().out
        token = re.search(r"^token +(\S+) ", printed, re.MULTILINE)
        command = re.search(r"setup --enrol URL --token-file FILE --ca-fingerprint ([0-9a-f]{64})", printed)
        assert token is not None, printed
        assert command is not None, printed
        return token[1], command[1]

    async def enrol(self, token: str, fingerprint: str, folder: str = "enrol", authorities: bytes = b"") -> Bundle:
        return await enrol(
            Enrolment.parse(self.url, token, authorities, fingerprint), utc_now(), self.folder / folder
        )


@pytest.fixture(params=list(ResourcesIn))
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CaServer]:
    made = CaServer(tmp_path, request.param)
    made.start()
    yield made
    made.stop()


class NoCharon:
    """charon as the renewal sees it, with the certificates that it has."""

    def __init__(self) -> None:
        self.own: list[bytes] = []

    async def request(self, command: str, message: Any) -> Any:
        if command == "load-cert":
            self.own.append(message["data"])
        return {}

    async def stream(self, command: str, _: Any, __: str, read: Any) -> list[Any]:
        found = [{"data": der, "has_privkey": b"yes"} for der in self.own] if command == "list-certs" else []
        return [one for message in found for one in read(message)]

    def session(self) -> AbstractAsyncContextManager[Any]:
        @asynccontextmanager
        async def opened() -> Any:
            yield self

        return opened()


async def test_a_node_enrols_and_renews(server: CaServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By a token and the CA's fingerprint; then by its certificate, with another key and nobody's help."""
    token, fingerprint = server.token(capsys)
    bundle = await server.enrol(token, fingerprint)
    assert bundle.protocol_addresses
    assert bundle.enrolled is not None
    assert (bundle.enrolled.server, bundle.enrolled.authorities) == (server.url, b"")
    for name, data in (("node.pem", bundle.certificate_pem), ("key.pem", bundle.key)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "ca.pem").write_bytes(b"".join(bundle.authorities))
    config = read_config({"role": "spoke", "policy": {"tunnel_networks": ["10.255.0.0/24"]}})

    def judgement() -> Judgement:
        return Judgement(config.policy, TrustStore(read_authorities(b"".join(bundle.authorities))).trust(), utc_now())

    settings = RenewalSettings(
        Url.parse(server.url),
        (tmp_path / "ca.pem",),
        tmp_path / "node.pem",
        tmp_path / "key.pem",
        state=tmp_path / "s",
    )
    tomorrow = utc_now() + timedelta(seconds=2)  # a certificate of the same second would not be longer
    until_now(lambda: utc_now() > tomorrow)
    outcome = await Renewer(settings, judgement, NoCharon().session, frozenset({"dmvpn"})).run(at_once=True)
    assert outcome.renewed
    renewed = x509.load_pem_x509_certificate((tmp_path / "node.pem").read_bytes())
    assert renewed.subject.public_bytes() == bundle.certificate.subject_name
    assert plain_pem(read_key((tmp_path / "key.pem").read_bytes())) != bundle.key


async def test_a_lost_answer_is_repeated_and_a_used_token_is_no_use(
    server: CaServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For the same key there is the same certificate; for another key there is none."""
    token, fingerprint = server.token(capsys)
    first = await server.enrol(token, fingerprint)
    assert (await server.enrol(token, fingerprint)).certificate == first.certificate
    with pytest.raises(Refused) as refused:
        await server.enrol(token, fingerprint, "another")
    assert "the token is not valid" in refused.value.refusals[0].found
    forget_key(tmp_path / "enrol")
    assert not (tmp_path / "enrol").exists()


async def test_a_refused_token_leaves_nothing_behind(server: CaServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither does a server that cannot be reached; a key for which the CA may have issued something stays."""
    token, fingerprint = server.token(capsys)
    folder = server.folder / "enrol"
    with pytest.raises(Refused) as refused:
        await server.enrol("wrong", fingerprint)
    assert "the token is not valid" in refused.value.refusals[0].found
    assert not folder.exists()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"https://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(Refused):
        await enrol(Enrolment.parse(nowhere, token, b"", fingerprint), utc_now(), folder)
    assert not folder.exists()
    await server.enrol(token, fingerprint)
    with pytest.raises(Refused):
        await server.enrol("wrong", fingerprint)
    assert folder.exists()


async def test_no_token_goes_to_another_ca(server: CaServer, capsys: pytest.CaptureFixture[str]) -> None:
    """With another fingerprint, or another CA for TLS; the token is good afterwards."""
    token, fingerprint = server.token(capsys)
    with pytest.raises(Refused) as refused:
        await server.enrol(token, "0" * 64)
    assert fingerprint in refused.value.refusals[0].found
    other = ssl.DER_cert_to_PEM_cert(_other_ca()).encode()
    with pytest.raises(Refused) as refused:
        await server.enrol(token, "", authorities=other)
    assert "TLS" in refused.value.refusals[0].found
    assert await server.enrol(token, fingerprint)


def _other_ca() -> bytes:
    from pki import Party

    now = utc_now()
    party = Party("Other CA", dates=(now - timedelta(days=1), now + timedelta(days=1)))
    return party.certify(party)


@needs_charon()
async def test_swanctl_reads_the_identity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """charon prints the certificate's subject for it."""
    server = CaServer(tmp_path, ResourcesIn.SUBJECT)
    server.start()
    charon = RealCharon(tmp_path)
    try:
        bundle = await server.enrol(*server.token(capsys))
        certificate = x509.load_pem_x509_certificate(bundle.certificate_pem)
        local = f"local {{\n auth = pubkey\n id = {swanctl_identity(certificate)}\n }}"
        conf = f"connections {{\n dmvpn {{\n {local}\n }}\n}}\n"
        (tmp_path / "swanctl.conf").write_text(conf)
        await charon.start()
        charon.swanctl("--load-conns", "--file", str(tmp_path / "swanctl.conf"))
        assert f"id: {bundle.certificate.subject}" in charon.swanctl("--list-conns")
        assert certificate.public_bytes(Encoding.DER) == bundle.certificate.der
    finally:
        charon.stop()
        server.stop()
