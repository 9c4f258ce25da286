"""A registry with one site, and the CA's server in front of it, for tests of enrolment."""

import base64
import http.client
import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from ca_registry import PASSPHRASE, make_registry
from dmvpn_agent.ca import keys, schema
from dmvpn_agent.ca.authorities import read_authorities
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.reading import find_node, read_audit
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.ca.sites import NewSite, add_node, add_site
from dmvpn_agent.ca.tokens import make_token
from dmvpn_agent.enrolment.server import EnrolmentServer
from dmvpn_agent.enrolment.settings import ServeSettings
from dmvpn_agent.runtime.clocks import Clocks, utc_now
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.x509.private_key import new_key, plain_pem

EST = "/.well-known/est"


def request_of(key: Any, name: str = "", *, sans: tuple[str, ...] = (), units: tuple[str, ...] = ()) -> bytes:
    """A request for a certificate (DER)."""
    names = [(NameOID.ORGANIZATIONAL_UNIT_NAME, one) for one in units] + (
        [(NameOID.COMMON_NAME, name)] if name else []
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in sans]), True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """The one certificate of an answer of EST."""
        assert self.status == 200, self.body
        (found,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(self.body))
        return found


@dataclass
class Node:
    """A client of the server, with the key that it made."""

    world: "World"
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    def token(self, hours: float = 24, now: datetime | None = None) -> str:
        """A new token for this node."""
        with self.world.database.writing() as connection:
            return make_token(connection, find_node(connection, self.name), timedelta(hours=hours), now or utc_now())

    def enrol(
        self,
        token: str,
        *,
        user: str | None = None,
        request: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask for a first certificate."""
        login = base64.b64encode(f"{self.name if user is None else user}:{token}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/pkcs10", **(headers or {})}
        body = base64.encodebytes(request_of(self.key, self.name) if request is None else request)
        return self.world.ask("POST", f"{EST}/simpleenroll", body, headers)

    def renew(self, certificate: x509.Certificate, request: bytes | None = None, key: Any = None) -> Answer:
        """Ask for the next one, with the present one in TLS."""
        body = base64.encodebytes(request_of(new_key(), self.name) if request is None else request)
        headers = {"Content-Type": "application/pkcs10"}
        own = (certificate.public_bytes(Encoding.PEM), plain_pem(key or self.key))
        return self.world.ask("POST", f"{EST}/simplereenroll", body, headers, own)


@dataclass
class World:
    """A registry with its server."""

    folder: Path
    database: Database
    server: EnrolmentServer
    settings: ServeSettings
    roots: str

    def node(self, name: str = "FIN-1") -> Node:
        """A client that says it is this node."""
        return Node(self, name)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None,
        own: tuple[bytes, bytes] | None = None,
    ) -> Answer:  # fmt: skip
        """Send one request by TLS; ``own``: certificate and key of the client, in PEM."""
        context = ssl.create_default_context(cadata=self.roots)
        if own is not None:
            (self.folder / "own.pem").write_bytes(own[1] + own[0])
            context.load_cert_chain(self.folder / "own.pem")
        endpoint = self.settings.https
        connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=30, context=context)
        return _answer(connection, method, path, body, headers)

    def ask_plain(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send one request without TLS."""
        assert self.settings.http is not None
        endpoint = self.settings.http
        return _answer(
            http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30), method, path, body, headers
        )

    def audit(self) -> list[tuple[str, str, str]]:
        """Who did what by the server: operator, action, detail."""
        with self.database.reading() as connection:
            rows = read_audit(connection, 1000)
        return [(one.operator, one.action, one.detail) for one in rows if one.action.startswith("enrol")]

    def certificates(self) -> int:
        """How many certificates of nodes the registry has."""
        with self.database.reading() as connection:
            query = select(schema.certificate.c.id).where(schema.certificate.c.node_id.is_not(None))
            return len(connection.execute(query).all())


def _answer(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str] | None
) -> Answer:
    try:
        connection.request(method, path, body or None, headers or {})
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    finally:
        connection.close()


def _started(database: Database, clocks: Clocks, wanted: dict[str, Any]) -> tuple[EnrolmentServer, ServeSettings]:
    while True:
        ports = random.sample(range(20000, 32000), 2)  # no client gets these for a connection of its own
        https, http = (Endpoint("127.0.0.1", port) for port in ports)
        serve = ServeSettings(https, http, **wanted)
        server = EnrolmentServer(database, PASSPHRASE, serve, clocks)
        try:
            server.start()
        except OSError:  # somebody else has one of them
            server.stop()
        else:
            return server, serve


def _root(database: Database) -> str:
    with database.reading() as connection:
        return read_authorities(connection)[0].certificate.public_bytes(Encoding.PEM).decode()


@contextmanager
def serving(
    folder: Path, settings: Settings | None = None, *, place: str = "", new: dict[str, Any] | None = None,
    clocks: Clocks | None = None, **changes: Any,
) -> Iterator[World]:  # fmt: skip
    """A registry with FIN-1, FIN-2 and SWE-1, and its server; ``changes`` are fields of ``ServeSettings``."""
    rounds, keys._ROUNDS = keys._ROUNDS, 1000
    try:
        database = make_registry(
            place or folder / "registry.sqlite", settings, (clocks or Clocks()).now(), **(new or {})
        )
        with database.writing() as connection:
            add_site(connection, NewSite("FIN", (ip_network("10.1.0.0/16"),)), None)
            add_site(connection, NewSite("SWE", (ip_network("10.2.0.0/16"),)), None)
            for site in ("FIN", "FIN", "SWE"):
                add_node(connection, site)
        wanted = {"names": ("127.0.0.1", "localhost"), "per_minute": 1000, **changes}
        server, serve = _started(database, clocks or Clocks(), wanted)
        try:
            yield World(folder, database, server, serve, _root(database))
        finally:
            server.stop()
    finally:
        keys._ROUNDS = rounds
