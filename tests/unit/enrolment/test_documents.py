"""What anybody may fetch from the CA's server: CRLs and CA certificates."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from ca_registry import PASSPHRASE
from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import change_passphrase
from dmvpn_agent.ca.backup import backup, restore
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.revocation import Reason, revoke
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.tokens import find_token
from dmvpn_agent.enrolment.tls import ServerTls
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.http_server import MAX_FROM_ONE_ADDRESS
from dmvpn_agent.x509.private_key import plain_pem
from enrolling import World, serving
from scep_client import new_rsa_key, self_signed

CRL = "/crl/dmvpn.crl"
NO_ZONE = "Mon, 01 Jan 2020 00:00:00 +99999999999999999999"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = Settings(crl_urls=(f"http://ca.example.com{CRL}",))
    with serving(tmp_path, settings, new={"with_issuing": True}) as found:
        yield found


@pytest.fixture
def scep_world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path, scep=True) as found:
        yield found


def test_ca_certificates_and_crls(world: World) -> None:
    """By both ports; the CRL of the CA that issues also where its certificates say that it is."""
    for ask in (world.ask, world.ask_plain):
        assert ask("GET", "/ca.pem").body.count(b"BEGIN CERTIFICATE") == 2
        names = [
            x509.load_der_x509_certificate(ask("GET", path).body).subject for path in ("/root.cer", "/issuing.cer")
        ]
        issuers = [x509.load_der_x509_crl(ask("GET", path).body).issuer for path in ("/dmvpn-root-ca.crl", CRL)]
        assert names == issuers
    assert world.ask_plain("GET", "/dmvpn.crl").body == world.ask_plain("GET", CRL).body
    assert world.ask_plain("GET", "/").status == 404


def test_conditional_requests(world: World) -> None:
    """By ETag, which counts more, or by time."""
    first = world.ask_plain("GET", CRL)
    tag, time = first.headers["etag"], first.headers["last-modified"]
    for known in ({"If-None-Match": f'"x", W/{tag}'}, {"If-None-Match": "*"}, {"If-Modified-Since": time}):
        answer = world.ask_plain("GET", CRL, headers=known)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["content-length"] == str(len(first.body))
    older = "Thu, 01 Jan 1970 00:00:00 GMT"
    for other in ({"If-None-Match": '"x"', "If-Modified-Since": time}, {"If-Modified-Since": older},
                  {"If-Modified-Since": "x"}, {"If-Modified-Since": NO_ZONE}):  # fmt: skip
        assert world.ask_plain("GET", CRL, headers=other).status == 200
    assert world.ask_plain("HEAD", CRL).headers["etag"] == tag


def test_the_server_keeps_its_certificate(tmp_path: Path) -> None:
    """However an address among its names is written."""
    names = ("2001:DB8::1", "2001:db8:0:0::2", "192.0.2.1", "CA.example.com")
    with serving(tmp_path, names=names) as world:
        before = _service_certificates(world)
        world.server.refresh()
        assert _service_certificates(world) == before == 1


def _service_certificates(world: World) -> int:
    with world.database.reading() as connection:
        return len(connection.execute(select(schema.certificate).where(schema.certificate.c.node_id.is_(None))).all())


def test_what_is_revoked_is_in_the_next_crl(world: World) -> None:
    """Upkeep makes a CRL when the registry says more than the last one, and serves it."""
    node = world.node()
    certificate = node.enrol(node.token()).certificate
    before = x509.load_der_x509_crl(world.ask_plain("GET", CRL).body)
    with world.database.writing() as connection:
        found = find_node(connection, "FIN-1")
        revoke(connection, found.id, found.name, Reason.KEY_COMPROMISE, utc_now())
    world.server.refresh()
    after = x509.load_der_x509_crl(world.ask_plain("GET", CRL).body)
    (revoked,) = after
    assert revoked.serial_number == certificate.serial_number
    assert _number(after) > _number(before)
    world.server.refresh()
    assert _number(x509.load_der_x509_crl(world.ask_plain("GET", CRL).body)) == _number(after)


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_documents_outlive_the_registry(world: World) -> None:
    """CRLs are served from memory: nobody loses them with the database."""
    assert world.database.file is not None
    world.database.file.rename(world.folder / "gone")
    assert world.ask_plain("GET", CRL).status == 200


def test_the_server_has_a_certificate_of_the_ca(world: World) -> None:
    """It names the server, names no resources, and is kept over a restart."""
    context = ssl.create_default_context(cadata=world.roots)
    endpoint = world.settings.https

    def shown() -> bytes:
        with (
            socket.create_connection((endpoint.host, endpoint.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    certificate = x509.load_der_x509_certificate(shown())
    assert certificate.subject.rfc4514_string() == "CN=127.0.0.1,O=DMVPN"
    world.server.stop()
    world.server.start()
    assert x509.load_der_x509_certificate(shown()) == certificate


def test_silent_clients_keep_nobody_out(scep_world: World) -> None:
    """Connections that send nothing, or half a request, wait; others are served meanwhile."""
    endpoint = scep_world.settings.http
    assert endpoint is not None
    silent = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(200)]
    try:
        for one in silent[::2]:
            one.sendall(b"POST /scep HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert scep_world.ask_plain("GET", "/scep?operation=GetCACert").status == 200
    finally:
        for one in silent:
            one.close()


def test_requests_without_their_end_keep_nobody_out(scep_world: World) -> None:
    """As many as one address may have, of which the server has read the beginning."""
    endpoint = scep_world.settings.http
    assert endpoint is not None
    halves = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(MAX_FROM_ONE_ADDRESS)]
    try:
        for one in halves:
            one.sendall(b"POST /scep HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        assert all(one.recv(1000).startswith(b"HTTP/1.1 100 ") for one in halves)
        assert scep_world.ask_plain("GET", "/scep?operation=GetCACert").status == 200
    finally:
        for one in halves:
            one.close()


def test_another_passphrase_is_for_the_servers_keys_too(tmp_path: Path) -> None:
    """After ``ca passphrase`` the server starts with the new one, and has the same keys."""
    with serving(tmp_path, scep=True) as world:
        before = world.ask_plain("GET", "/scep?operation=GetCACert").body
        world.server.stop()
        with world.database.writing() as connection:
            change_passphrase(connection, PASSPHRASE, b"another passphrase")
        with pytest.raises(CaError, match="passphrase is wrong"):
            world.server.start()
        world.server._passphrase = b"another passphrase"
        world.server.start()
        assert world.ask_plain("GET", "/scep?operation=GetCACert").body == before


def test_no_token_survives_a_backup(world: World, tmp_path: Path) -> None:
    """A token that was used after the backup must not be good again."""
    node = world.node()
    token = node.token()
    saved = backup(world.database)
    node.enrol(token)
    other = Database(str(tmp_path / "other.sqlite"))
    restore(other, saved)
    with other.reading() as connection:
        assert find_token(connection, token) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_a_client_that_leaves_tls_at_once_is_nothing_to_report(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever version it speaks: no exception, and the next client is served."""
    words = ["openssl", "s_client", "-connect", str(world.settings.https)]
    for version in ["-tls1_2", "-tls1_3"] * 4:
        subprocess.run([*words, version], input=b"\n", capture_output=True, check=False)
    assert world.ask("GET", "/ca.pem").status == 200
    assert [one for one in caplog.records if one.name == "asyncio" and one.levelname == "ERROR"] == []


def test_a_certificate_of_the_operator(tmp_path: Path) -> None:
    """Its files are read again when they change; one that cannot be read leaves the former in use."""
    key, file = new_rsa_key(), tmp_path / "tls.pem"
    own = ServerTls(self_signed(key), (file, file))
    with pytest.raises(OSError, match="no certificate"):
        own.context()
    with pytest.raises(CaError, match=r"tls\.pem"):
        own.use_files()
    file.write_bytes(plain_pem(key) + self_signed(key).public_bytes(Encoding.PEM))
    own.use_files()
    first = own.context()
    own.use_files()
    assert own.context() is first
    file.write_text("nothing")
    with pytest.raises(CaError, match=r"tls\.pem"):
        own.use_files()
    assert own.context() is first
