"""What the CA's server does by itself: CRLs in time, its own certificates, and what other operators have changed."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.ca.authorities import CaAuthority, Signer, read_authorities
from dmvpn_agent.ca.bundle import chain_pem
from dmvpn_agent.ca.crls import MadeCrl, file_name, latest_crl, lifetime_of, make_crl, publish_latest, why_due
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.ca.settings import Settings
from dmvpn_agent.enrolment.documents import Document, Documents

log = structlog.get_logger()

_CRL_TYPE, _CERTIFICATE_TYPE, _PEM_TYPE = "application/pkix-crl", "application/pkix-cert", "application/x-pem-file"


class Upkeep:
    """Brings the server up to what the registry says. Called by one thread at a time."""

    def __init__(self, database: Database, signer: Signer, documents: Documents) -> None:
        self.next_updates: dict[str, datetime] = {}
        self._database = database
        self._signer = signer
        self._documents = documents

    def refresh(self, now: datetime) -> None:
        """Make a CRL if one is due, and serve what the registry has. Raises ``CaError``."""
        self._make_crl(now)
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

    def _make_crl(self, now: datetime) -> None:
        authority = self._signer.authority
        if not authority.signs_crls:
            return
        with self._database.reading() as connection:
            if not (why := why_due(connection, authority, now)):
                return
        with self._database.writing() as connection:
            if why_due(connection, authority, now):
                made = make_crl(connection, self._signer, lifetime_of(authority, read_settings(connection)), now)
                log.info("crl_made", authority=authority.name, number=made.number, why=why)
        publish_latest(self._database)

    def _serve_crl(self, authority: CaAuthority, settings: Settings, crl: MadeCrl) -> None:
        self.next_updates[authority.name] = crl.next_update
        document = Document(crl.der, _CRL_TYPE, crl.this_update)
        paths = {f"/{file_name(authority, settings)}"}
        if authority.issues_to_nodes:
            paths |= {urlsplit(url).path for url in settings.crl_urls if url.startswith("http:")}
        for path in paths - {"", "/"}:
            self._documents.put(path, document)


#: How often ``refresh`` is called.
INTERVAL = timedelta(seconds=5)
