"""What the CA's server does by itself: CRLs in time, its own certificates, and what other operators have changed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.authorities import CaAuthority, Signer, read_authorities
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.crls import MadeCrl, file_name, latest_crl, lifetime_of, make_crl, publish_latest, why_due
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.enrolment.documents import Documents
from dmvpn_agent.runtime.http_document import Document

log = structlog.get_logger()

#: How often ``refresh`` is called, and how often it looks at all although nothing has changed.
INTERVAL = timedelta(seconds=5)
UNCHANGED_INTERVAL = timedelta(minutes=1)
_CRL_TYPE, _CERTIFICATE_TYPE, _PEM_TYPE = "application/pkix-crl", "application/pkix-cert", "application/x-pem-file"


class Upkeep:
    """Brings the server up to what the registry says. Called by one thread at a time."""

    def __init__(self, database: Database, signers: Sequence[Signer], documents: Documents) -> None:
        """``signers``: the CAs that CRLs are made of."""
        self.next_updates: dict[str, datetime] = {}
        self._database = database
        self._signers = signers
        self._last_line: int | None = -1
        self._is_published = False
        self._at = datetime.min.replace(tzinfo=UTC)
        self._documents = documents

    def refresh(self, now: datetime) -> None:
        """Make a CRL if one is due, and serve what the registry has. Raises ``CaError``.

        To compare a CRL of 10,000 entries with the registry takes a tenth of a second, so that is done if the
        registry's log has a new line, and otherwise from time to time.
        """
        with self._database.reading() as connection:
            last_line = connection.execute(select(func.max(schema.audit.c.id))).scalar()
        if last_line == self._last_line and self._at <= now < self._at + UNCHANGED_INTERVAL:
            return
        for signer in self._signers:
            self._make_crl(signer, now)
        self._serve_documents()
        self._last_line, self._at = last_line, now
        self._is_published = False

    def publish(self) -> None:
        """Write the CRLs into their directory, if they are not there. Raises ``CaError``; then call it again."""
        if not self._is_published:
            publish_latest(self._database)
            self._is_published = True

    def _serve_documents(self) -> None:
        with self._database.reading() as connection:
            settings = read_settings(connection)
            authorities = read_authorities(connection)
            for authority in authorities:
                if (last := latest_crl(connection, authority)) is not None:
                    self._serve_crl(authority, settings, last)
        chain = authorities[-1].chain
        self._documents.put("/ca.pem", Document(chain_pem(chain), _PEM_TYPE, chain[0].not_valid_before_utc))
        for authority in authorities:
            der, begin = authority.certificate.public_bytes(Encoding.DER), authority.certificate.not_valid_before_utc
            self._documents.put(f"/{authority.name}.cer", Document(der, _CERTIFICATE_TYPE, begin))

    def _make_crl(self, signer: Signer, now: datetime) -> None:
        """Make a CRL if one is due."""
        authority = signer.authority
        with self._database.reading() as connection:
            if not why_due(connection, authority, now):
                return
        with self._database.writing() as connection:
            if why := why_due(connection, authority, now):
                made = make_crl(connection, signer, lifetime_of(authority, read_settings(connection)), now)
                log.info("crl_made", authority=authority.name, number=made.number, why=why)

    def _serve_crl(self, authority: CaAuthority, settings: Settings, crl: MadeCrl) -> None:
        self.next_updates[authority.name] = crl.next_update
        document = Document(crl.der, _CRL_TYPE, crl.this_update)
        paths = {f"/{file_name(authority, settings)}"}
        if authority.issues_to_nodes:
            paths |= {urlsplit(url).path for url in settings.crl_urls if url.startswith("http:")}
        for path in paths - {"", "/"}:
            self._documents.put(path, document)
