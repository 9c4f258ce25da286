"""The CRLs of the registry: making them in time, and publishing them in a directory."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import CaAuthority, Signer, read_authorities
from dmvpn_agent.ca.crl_building import CrlPeriod, RevokedCertificate, build_crl
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import write_file
from dmvpn_agent.ca.profile import BACKDATED
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.runtime.owner_rights import own_rights
from dmvpn_agent.x509.crl import read_crls

_AUTHORITY, _CERTIFICATE, _CRL = schema.authority.c, schema.certificate.c, schema.crl.c
#: How many CRLs of each CA the registry keeps.
_KEPT = 3
#: The root's CRL is about the issuing CA only. Its key may be far away: it is valid for a year.
ROOT_CRL = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class MadeCrl:
    """A CRL in the registry. ``authority``: the name of its CA there."""

    authority: str
    number: int
    this_update: datetime
    next_update: datetime
    der: bytes

    @property
    def half_time(self) -> datetime:
        """Return when the next one should be made."""
        return self.this_update + (self.next_update - self.this_update) / 2


def make_crl(connection: Connection, signer: Signer, lifetime: timedelta, now: datetime) -> MadeCrl:
    """Make the next CRL of a CA.

    Its number is the time, or the number after the last one if that is higher: so it rises even if an older backup
    was restored in between. Raises ``CaError`` if the CA may not sign CRLs.
    """
    authority = signer.authority
    if not authority.signs_crls:
        raise CaError(f"the certificate of the {authority.name} CA does not allow it to sign CRLs",
                      "dmvpn-ca makes such a CA with db.encrypt-keys; issue certificates from a new CA")  # fmt: skip
    last = select(_AUTHORITY.crl_number).where(_AUTHORITY.id == authority.id)
    number = max(connection.execute(last).scalar_one() + 1, int(now.timestamp()))
    connection.execute(update(schema.authority).where(_AUTHORITY.id == authority.id).values(crl_number=number))
    period = CrlPeriod(number, now.replace(microsecond=0), (now + lifetime).replace(microsecond=0))
    revoked = [
        RevokedCertificate(int(serial, 16), at, reason) for serial, at, reason in _revoked(connection, authority, now)
    ]
    der = build_crl(authority.certificate, signer.key, period, revoked)
    row = {"authority_id": authority.id, **period._asdict(), "der": der}
    connection.execute(insert(schema.crl), row)
    kept = select(_CRL.number).where(_CRL.authority_id == authority.id).order_by(_CRL.number.desc()).limit(_KEPT)
    oldest = min(connection.execute(kept).scalars())
    connection.execute(delete(schema.crl).where(_CRL.authority_id == authority.id, _CRL.number < oldest))
    return MadeCrl(authority.name, *period, der)


def lifetime_of(authority: CaAuthority, settings: Settings) -> timedelta:
    """Return how long a CRL of a CA is valid."""
    return timedelta(hours=settings.crl_hours) if authority.issues_to_nodes else ROOT_CRL


def latest_crl(connection: Connection, authority: CaAuthority) -> MadeCrl | None:
    """Return the last CRL of a CA."""
    columns = _CRL.number, _CRL.this_update, _CRL.next_update, _CRL.der
    query = select(*columns).where(_CRL.authority_id == authority.id).order_by(_CRL.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else MadeCrl(authority.name, *row)


def why_due(connection: Connection, authority: CaAuthority, now: datetime) -> str:
    """Return why a CA needs a new CRL; empty if it needs none."""
    last = latest_crl(connection, authority)
    if last is None:
        return "there is none yet"
    if now >= last.half_time:
        return f"half of its time is over; it ends at {last.next_update:%Y-%m-%d %H:%M} UTC"
    if now < last.this_update - BACKDATED:
        return "it begins in the future: the clock was set back"
    (published,) = read_crls(last.der)
    if {int(serial, 16) for serial, _, _ in _revoked(connection, authority, now)} != set(published.serials):
        return "certificates were revoked or released since"
    return ""


def publish_latest(database: Database, directory: Path | None = None) -> list[Path]:
    """Publish what the registry has, after it was committed. Raises ``CaError``, which says that it was committed."""
    try:
        with database.reading() as connection, own_rights() if directory else nullcontext():
            return publish(connection, read_settings(connection), directory)
    except CaError as error:
        raise CaError(f"the registry has the change, but the CRL is not published: {error}",
                      "then run `dmvpn-agent ca crl`") from error  # fmt: skip


def publish(connection: Connection, settings: Settings, directory: Path | None = None) -> list[Path]:
    """Write the latest CRL of each CA into the directory, whole or not at all, and return the files.

    Without a directory here or in the settings nothing is written. Raises ``CaError``.
    """
    folder = directory or (Path(settings.crl_directory) if settings.crl_directory else None)
    written = []
    for authority in read_authorities(connection) if folder else ():
        last = latest_crl(connection, authority)
        if last is not None and folder is not None:
            path = folder / file_name(authority, settings)
            if not _has(path, last.der):
                write_file(path, last.der, mode=0o644, replace=True)
            written.append(path)
    return written


def _has(path: Path, data: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(data) + 1) == data
    except OSError:
        return False


def file_name(authority: CaAuthority, settings: Settings) -> str:
    """Return the name of a CA's CRL: for the CA that issues, the one that the distribution points end in."""
    if not authority.issues_to_nodes:
        return "dmvpn-root-ca.crl"
    names = (Path(urlsplit(url).path).name for url in settings.crl_urls)
    return next((name for name in names if name), "dmvpn-ca.crl")


def _revoked(connection: Connection, authority: CaAuthority, now: datetime) -> list[tuple[str, datetime, str]]:
    """Return what is revoked, also what has expired since (RFC 5280, section 3.3: in one CRL at least)."""
    query = (
        select(_CERTIFICATE.serial, _CERTIFICATE.revoked_at, _CERTIFICATE.reason)
        .where(_CERTIFICATE.authority_id == authority.id, _CERTIFICATE.revoked_at.is_not(None))
        .where(_CERTIFICATE.not_after >= now - ROOT_CRL)
        .order_by(_CERTIFICATE.id)
    )
    return [(serial, at, reason) for serial, at, reason in connection.execute(query)]
