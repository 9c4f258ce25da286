"""Decides about requests for certificates: who asks, which node that is, and what it gets.

A node shows who it is by a token that an operator handed out, or by a certificate that the registry has. Of its
request only the key counts. Token, certificate and the line in the registry's log are one transaction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, select

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.authorities import Signer, issuing_authority
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import issue, read_request
from dmvpn_agent.ca.node import Node
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.ca.tokens import Token, find_token, key_digest, use_token
from dmvpn_agent.enrolment.limits import Limits
from dmvpn_agent.enrolment.outcome import ISSUED, REPEATED, Protocol, Refusal, Refused
from dmvpn_agent.runtime.clocks import Clock

log = structlog.get_logger()

_CERTIFICATE, _NODE = schema.certificate.c, schema.node.c


@dataclass(frozen=True, slots=True)
class Origin:
    """How, and from which address, a request came."""

    protocol: Protocol
    source: str

    def __str__(self) -> str:
        return f"{self.protocol} {self.source}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a certificate (PKCS #10, DER), and who asks.

    ``token``: what the operator handed out, and ``name``, which may be empty, whom the client says that it is.
    ``certificate``: what the client has proved that it has the key of (DER); then the token is not used. ``key``: the
    digest of the key that the request must be for, if it is not empty.
    """

    request: bytes
    token: str = ""
    name: str = ""
    certificate: bytes | None = None
    key: str = ""

    @property
    def by(self) -> str:
        """Return how the client shows who it is."""
        return "token" if self.certificate is None else "certificate"


@dataclass(frozen=True, slots=True)
class _Grant:
    """The node that a request is of; with its token, or with the row of the certificate that it showed."""

    node: Node
    token: Token | None = None
    shown: int = 0


class Registrar:
    """Issues certificates to nodes that enrol or renew."""

    def __init__(self, database: Database, signer: Signer, limits: Limits, now: Clock) -> None:
        self._database = database
        self._signer = signer
        self._limits = limits
        self._now = now

    def answer(self, origin: Origin, read: Callable[[], Asked]) -> tuple[x509.Certificate, str]:
        """Return a certificate for a request, and ``ISSUED`` or ``REPEATED``. Raises ``Refused``.

        ``read`` returns what is asked for, or raises ``Refused``. Every request is logged, and stands in the
        registry's log.
        """
        try:
            return self._answered(origin, read())
        except Refused as error:
            self._note_refusal(origin, error)
            raise
        except Exception as error:
            log.exception("enrolment_failed", protocol=origin.protocol, source=origin.source)
            raise Refused(Refusal.FAILED, "a fault of the program; its log has more") from error

    def _answered(self, origin: Origin, asked: Asked) -> tuple[x509.Certificate, str]:
        now = self._now()
        try:
            with self._database.reading() as connection:  # strangers get no lock
                grant = self._grant(connection, asked, now)
                request = _request(asked, grant.node)
                has_one = self._earlier(connection, grant, key_digest(request.public_key()), now) is not None
        except CaError as error:
            raise Refused(Refusal.REGISTRY, str(error)) from error
        if not has_one and not self._limits.admits_node(grant.node.name):
            raise Refused(Refusal.RATE, f"{grant.node.name} has asked too often", node=grant.node.name)
        try:
            with self._database.writing() as connection:
                certificate, outcome = self._given(connection, origin, asked, request, now)
        except CaError as error:
            raise Refused(Refusal.REGISTRY, str(error), node=grant.node.name) from error
        log.info(f"enrolment_{outcome}", protocol=origin.protocol, source=origin.source, node=grant.node.name,
                 serial=f"{certificate.serial_number:x}", by=asked.by)  # fmt: skip
        return certificate, outcome

    def _given(
        self, connection: Connection, origin: Origin, asked: Asked, request: x509.CertificateSigningRequest,
        now: datetime,
    ) -> tuple[x509.Certificate, str]:  # fmt: skip
        """Issue the certificate, in one transaction with all that says so; not if the same request brought one."""
        grant = self._grant(connection, asked, now)
        key = request.public_key()
        if issuing_authority(connection).certificate != self._signer.authority.certificate:
            raise CaError("the registry has another CA than when the server started", "restart it")
        earlier = self._earlier(connection, grant, key_digest(key), now)
        if earlier is not None:
            if self._limits.admits_record():  # whoever saw a message of SCEP can send it again
                text = f"{grant.node.name} serial {earlier.serial_number:x} by {asked.by}"
                record(connection, f"enrol {REPEATED}", text, str(origin))
            return earlier, REPEATED
        try:
            certificate = issue(connection, self._signer, grant.node, key, now)
        except CaError as error:
            raise Refused(Refusal.DENIED, str(error), node=grant.node.name) from error
        serial = f"{certificate.serial_number:x}"
        if grant.token is not None:
            row = select(_CERTIFICATE.id).where(
                _CERTIFICATE.serial == serial, _CERTIFICATE.authority_id == self._signer.authority.id
            )
            use_token(connection, grant.token, key_digest(key), connection.execute(row).scalar_one(), now)
        record(connection, f"enrol {ISSUED}", f"{grant.node.name} serial {serial} by {asked.by}", str(origin))
        return certificate, ISSUED

    def _grant(self, connection: Connection, asked: Asked, now: datetime) -> _Grant:
        if asked.certificate is not None:
            return _by_certificate(connection, asked.certificate, now)
        return _by_token(connection, asked, now)

    def _earlier(self, connection: Connection, grant: _Grant, key: str, now: datetime) -> x509.Certificate | None:
        """Return what the same request brought before, if anything: the answer may have been lost.

        ``key``: the digest of the request's. Raises ``Refused`` for a used token that comes with another key.
        """
        if grant.token is None:
            return self._renewed(connection, grant, key, now)
        if grant.token.used_at is None:
            return None
        name = grant.node.name
        if grant.token.key != key:
            raise Refused(Refusal.TOKEN, f"the token of {name} was used at {grant.token.used_at:%Y-%m-%d %H:%M} UTC"
                          " for another key", node=name)  # fmt: skip
        row = connection.execute(
            select(schema.certificate).where(_CERTIFICATE.id == grant.token.certificate_id)
        ).one()
        if row.revoked_at is not None or row.not_after < now:
            raise Refused(Refusal.TOKEN, f"the token of {name} was used, and its certificate is revoked or has ended",
                          node=name)  # fmt: skip
        return x509.load_der_x509_certificate(row.der)

    def _renewed(self, connection: Connection, grant: _Grant, key: str, now: datetime) -> x509.Certificate | None:
        """Return the node's last good certificate for a key, if it is newer than the one shown."""
        query = (
            select(_CERTIFICATE.der)
            .where(_CERTIFICATE.node_id == grant.node.id, _CERTIFICATE.id > grant.shown)
            .where(_CERTIFICATE.authority_id == self._signer.authority.id)
            .where(_CERTIFICATE.revoked_at.is_(None), _CERTIFICATE.not_after >= now)
            .order_by(_CERTIFICATE.id.desc())
        )
        found = (x509.load_der_x509_certificate(der) for der in connection.execute(query).scalars().all())
        return next((one for one in found if key_digest(one.public_key()) == key), None)

    def _note_refusal(self, origin: Origin, error: Refused) -> None:
        log.warning("enrolment_refused", protocol=origin.protocol, source=origin.source, reason=error.why,
                    why=error.text, node=error.node)  # fmt: skip
        if error.why in {Refusal.RATE, Refusal.REGISTRY} or not self._limits.admits_record():
            return  # a flood must not fill the registry, and one that cannot be read is not written to
        try:
            with self._database.writing() as connection:
                record(connection, "enrol refused", f"{error.why}: {error.text}"[:500], str(origin))
        except CaError as failure:
            log.error("enrolment_not_recorded", why=str(failure), consequence="the refusal is in this log only")


def _by_token(connection: Connection, asked: Asked, now: datetime) -> _Grant:
    token = find_token(connection, asked.token) if asked.token else None
    if token is None:
        raise Refused(Refusal.TOKEN, "the token is not one of this CA" if asked.token else "there is no token")
    if now >= token.expires_at:
        raise Refused(Refusal.TOKEN, f"the token of {token.node} expired at {token.expires_at:%Y-%m-%d %H:%M} UTC",
                      node=token.node)  # fmt: skip
    node = find_node(connection, token.node)
    if asked.name and asked.name.casefold() not in _names(node):
        raise Refused(Refusal.TOKEN, f"the client says that it is {asked.name!r:.80}, with the token of {node.name}",
                      node=node.name)  # fmt: skip
    return _Grant(node, token)


def _by_certificate(connection: Connection, der: bytes, now: datetime) -> _Grant:
    """Return the node whose certificate this is, byte by byte as the registry has it."""
    query = (
        select(
            _NODE.name,
            _NODE.removed_at,
            _CERTIFICATE.id,
            _CERTIFICATE.revoked_at,
            _CERTIFICATE.reason,
            _CERTIFICATE.not_after,
        )
        .join(schema.node, _CERTIFICATE.node_id == _NODE.id)
        .where(_CERTIFICATE.serial == _serial(der), _CERTIFICATE.der == der)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise Refused(Refusal.CERTIFICATE, "the client's certificate is not one that this CA gave to a node")
    ended = "its node was removed" if row.removed_at else f"it is revoked ({row.reason})" if row.revoked_at else ""
    if not ended and row.not_after < now:
        ended = f"it ended at {row.not_after:%Y-%m-%d %H:%M} UTC"
    if ended:
        raise Refused(Refusal.CERTIFICATE, f"the certificate of {row.name} is no longer good: {ended}", node=row.name)
    return _Grant(find_node(connection, row.name), shown=row.id)


def _request(asked: Asked, node: Node) -> x509.CertificateSigningRequest:
    """Return the request if it may be one of this node. Raises ``Refused``."""
    try:
        request = read_request(asked.request)
    except CaError as error:
        raise Refused(Refusal.REQUEST, str(error), node=node.name) from error
    if isinstance(request.signature_hash_algorithm, MD5 | SHA1):
        raise Refused(Refusal.REQUEST, f"the request is signed with {request.signature_hash_algorithm.name}; use"
                      " SHA-256", node=node.name)  # fmt: skip
    if asked.key and key_digest(request.public_key()) != asked.key:
        raise Refused(Refusal.REQUEST, "the message is signed by another key than the one in the request",
                      node=node.name)  # fmt: skip
    for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if str(name.value).casefold() not in _names(node):
            raise Refused(Refusal.REQUEST, f"the request names {name.value!r:.80}, and comes from {node.name}",
                          node=node.name)  # fmt: skip
    return request


def _names(node: Node) -> set[str]:
    return {node.name.casefold(), node.common_name.casefold()}


def _serial(der: bytes) -> str:
    try:
        return f"{x509.load_der_x509_certificate(der).serial_number:x}"
    except ValueError as error:
        raise Refused(Refusal.CERTIFICATE, f"the client's certificate cannot be read: {error}") from error
