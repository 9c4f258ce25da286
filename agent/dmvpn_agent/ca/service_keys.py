"""Keys and certificates of the CA's own server: the one it does TLS with, and the one that SCEP's messages are for.

The keys are in the registry, encrypted as the CA's are, so that a restart changes neither: routers keep SCEP's
certificate. The certificates name no resources, so no node accepts a peer that has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Connection, delete, insert, select

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.authorities import Signer
from dmvpn_agent.ca.issuing import store_certificate
from dmvpn_agent.ca.keys import decrypted, encrypted
from dmvpn_agent.ca.profile import general_name, service_certificate
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.x509.private_key import PrivateKey, new_key

_SERVICE, _CERTIFICATE = schema.service.c, schema.certificate.c
#: SCEP encrypts for an RSA key (RFC 8894, section 2.1.2).
_RSA_BITS = 3072


class Service(StrEnum):
    """What a key is for."""

    TLS = "tls"
    SCEP = "scep"


#: How long a certificate is valid. Routers renew for as long as they can still use SCEP's.
_LIFETIMES = {Service.TLS: timedelta(days=90), Service.SCEP: timedelta(days=3650)}


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key of the server with its certificate."""

    key: PrivateKey
    certificate: x509.Certificate


def service_key(
    connection: Connection, signer: Signer, passphrase: bytes, service: Service, names: Sequence[str], now: datetime
) -> ServiceKey:
    """Return the key for a service; a new one if it is missing, has other names, or is in its last third.

    ``names``: addresses and DNS names of the server. Raises ``CaError``.
    """
    found = _stored(connection, signer, passphrase, service)
    if found is not None and is_current(found.certificate, names, now):
        return found
    key = new_key() if service is Service.TLS else rsa.generate_private_key(65537, _RSA_BITS)
    until = min(now + _LIFETIMES[service], signer.authority.certificate.not_valid_after_utc)
    draft = service_certificate(
        names,
        key.public_key(),
        signer.authority.certificate,
        read_settings(connection),
        now,
        until,
        encrypts=service is Service.SCEP,
    )
    certificate = signer.sign(draft)
    row_id = store_certificate(connection, signer.authority, certificate, None)
    connection.execute(delete(schema.service).where(_SERVICE.name == service))
    row = {"name": service, "key": encrypted(key, passphrase), "certificate_id": row_id}
    connection.execute(insert(schema.service), row)
    record(connection, "service key", f"{service} serial {certificate.serial_number:x} until {until:%Y-%m-%d}")
    return ServiceKey(key, certificate)


def _stored(connection: Connection, signer: Signer, passphrase: bytes, service: Service) -> ServiceKey | None:
    query = (
        select(_SERVICE.key, _CERTIFICATE.der)
        .join(schema.certificate, _SERVICE.certificate_id == _CERTIFICATE.id)
        .where(_SERVICE.name == service, _CERTIFICATE.revoked_at.is_(None))
        .where(_CERTIFICATE.authority_id == signer.authority.id)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return ServiceKey(decrypted(row.key, passphrase), x509.load_der_x509_certificate(row.der))


def is_current(certificate: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    """Tell whether a certificate names these, and its last third has not begun."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    wanted = [str(general_name(name).value) for name in names]  # of an address, the form that certificates show
    return begin <= now < end - (end - begin) / 3 and _names(certificate) == wanted


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(one.value) for one in found]
