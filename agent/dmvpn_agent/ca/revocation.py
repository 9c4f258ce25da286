"""Revoking certificates, putting them on hold, and taking the hold back."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, func, literal, or_, update

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.tokens import drop_tokens

_CERTIFICATE = schema.certificate.c


class Reason(StrEnum):
    """Why a certificate is revoked, as RFC 5280, section 5.3.1, names it; ``hold`` may be taken back."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    HOLD = "certificateHold"


def revoke(
    connection: Connection, node_id: int, name: str, reason: Reason, now: datetime, *, required: bool = True
) -> list[str]:
    """Revoke all certificates of a node that are valid or on hold, and return their serial numbers.

    ``KEY_COMPROMISE`` also becomes the reason of those that ended, or were revoked for another: their keys get no
    certificate any more. Nor can the node enrol by a token that it has. Raises ``CaError`` if there is no such
    certificate and one is ``required``.
    """
    drop_tokens(connection, node_id)
    if_none = f"{name} has no certificate that could be revoked" if required else ""
    if reason is Reason.KEY_COMPROMISE:
        others = or_(_CERTIFICATE.reason.is_(None), _CERTIFICATE.reason != Reason.KEY_COMPROMISE)
        return _change(connection, node_id, others, reason, now, if_none)
    free, held = _CERTIFICATE.revoked_at.is_(None), _CERTIFICATE.reason == Reason.HOLD
    good = (free if reason is Reason.HOLD else or_(free, held)) & (_CERTIFICATE.not_after >= now)
    return _change(connection, node_id, good, reason, now, if_none)


def supersede(connection: Connection, node_id: int, kept_serial: int, now: datetime) -> list[str]:
    """Revoke all other certificates of a node that are valid, and return their serial numbers."""
    others = _CERTIFICATE.revoked_at.is_(None) & (_CERTIFICATE.serial != f"{kept_serial:x}")
    others &= _CERTIFICATE.not_after >= now
    return _change(connection, node_id, others, Reason.SUPERSEDED, now, "")


def release(connection: Connection, node_id: int, name: str, now: datetime) -> list[str]:
    """Take back the hold of a node's certificates, and return their serial numbers. Raises ``CaError``."""
    held = (_CERTIFICATE.reason == Reason.HOLD) & (_CERTIFICATE.not_after >= now)
    return _change(connection, node_id, held, None, now, f"{name} has no certificate on hold")


def _change(
    connection: Connection,
    node_id: int,
    which: ColumnElement[bool],
    reason: Reason | None,
    now: datetime,
    if_none: str,
) -> list[str]:
    which &= _CERTIFICATE.node_id == node_id
    since: object = now if reason else None
    if reason is Reason.KEY_COMPROMISE:  # also what was revoked before: then, not now
        since = func.coalesce(_CERTIFICATE.revoked_at, literal(now, _CERTIFICATE.revoked_at.type))
    values = {"revoked_at": since, "reason": str(reason) if reason else None}
    changed = connection.execute(
        update(schema.certificate).where(which).values(values).returning(_CERTIFICATE.serial)
    )
    serials = sorted(changed.scalars())
    if not serials and if_none:
        raise CaError(if_none, "`dmvpn-agent ca show` lists its certificates")
    for serial in serials:
        record(connection, str(reason) if reason else "release", f"serial {serial}")
    return serials
