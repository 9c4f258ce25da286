"""Tokens: what an operator hands out so that a node can enrol, once.

A token has 116 random bits, so its SHA-256 digest is enough to recognise it, and does not reveal it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, delete, insert, select, update

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.bundle import new_password
from dmvpn_agent.ca.node import Node

_TOKEN, _NODE = schema.token.c, schema.node.c


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a node. ``used_at``, ``key`` and ``certificate_id`` are ``None`` until it is used."""

    id: int
    node: str
    expires_at: datetime
    used_at: datetime | None
    key: str | None
    certificate_id: int | None


def make_token(connection: Connection, node: Node, lifetime: timedelta, now: datetime) -> str:
    """Return a new token for a node; one that it had and has not used is no longer valid."""
    drop_tokens(connection, node.id)
    secret = new_password()
    row = {"node_id": node.id, "digest": _digest(secret), "expires_at": now + lifetime}
    connection.execute(insert(schema.token), row)
    record(connection, "token", f"{node.name} until {row['expires_at']:%Y-%m-%d %H:%M}")
    return secret


def find_token(connection: Connection, secret: str) -> Token | None:
    """Return the token with this text, also one that is used or expired; ``None`` if there is none."""
    columns = _TOKEN.id, _NODE.name, _TOKEN.expires_at, _TOKEN.used_at, _TOKEN.key, _TOKEN.certificate_id
    query = select(*columns).join(schema.node, _TOKEN.node_id == _NODE.id).where(_TOKEN.digest == _digest(secret))
    row = connection.execute(query).one_or_none()
    return None if row is None else Token(*row)


def use_token(connection: Connection, token: Token, key: str, certificate_id: int, now: datetime) -> None:
    """Note that a token was used, for the key with this digest."""
    used = {"used_at": now, "key": key, "certificate_id": certificate_id}
    connection.execute(update(schema.token).where(_TOKEN.id == token.id).values(used))


def drop_tokens(connection: Connection, node_id: int) -> None:
    """Remove the tokens of a node, used ones too: it can no longer enrol."""
    connection.execute(delete(schema.token).where(_TOKEN.node_id == node_id))


def key_digest(key: CertificatePublicKeyTypes) -> str:
    """Return the digest by which a token knows the key that it was used for."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
