"""Issues certificates to nodes: judged first, then signed, then judged again, then in the registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, func, insert, select

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.allocation import pools
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.authorities import CaAuthority, Signer
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.node import Node
from dmvpn_agent.ca.profile import Networks, node_certificate
from dmvpn_agent.ca.reading import read_settings
from dmvpn_agent.ca.revocation import Reason
from dmvpn_agent.ca.verdict import refuse_draft, refuse_signed
from dmvpn_agent.x509.private_key import digest_for, new_key

_CERTIFICATE = schema.certificate.c
#: As ``IssuedCertificate`` has them.
_COLUMNS = (
    _CERTIFICATE.serial, _CERTIFICATE.subject, _CERTIFICATE.not_before, _CERTIFICATE.not_after,
    _CERTIFICATE.revoked_at, _CERTIFICATE.reason, _CERTIFICATE.der,
)  # fmt: skip
#: A shorter key than this is refused: it would be the weakest part of the network.
_SHORTEST_RSA = 2048
_SHORTEST_CURVE = 256
#: With less time left than this, the CA issues no certificate.
_SHORTEST_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate in the registry. ``reason`` and ``revoked_at`` are ``None`` while it is not revoked."""

    serial: int
    subject: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    reason: str | None
    der: bytes

    def is_good(self, now: datetime) -> bool:
        """Tell whether it is neither expired nor revoked."""
        return self.revoked_at is None and now <= self.not_after


def issue(
    connection: Connection, signer: Signer, node: Node, public_key: CertificatePublicKeyTypes, now: datetime
) -> x509.Certificate:
    """Issue a certificate for a node's public key, with what the registry has for the node.

    The certificate is in the registry when the transaction ends. Raises ``CaError`` if a hub or spoke would deny it,
    if nhrpd cannot keep it, or if the key is weak or compromised; then nothing was signed.
    """
    _refuse_weak(public_key)
    _refuse_compromised(connection, public_key)
    authority = signer.authority
    if authority.certificate.not_valid_after_utc - now < _SHORTEST_LIFETIME:
        raise CaError(
            f"the CA expires at {authority.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", "make a new CA"
        )
    networks = Networks.of_pools(pools(connection))
    draft = node_certificate(node, public_key, authority.certificate, read_settings(connection), networks, now)
    trial = new_key()
    refuse_draft(_der(draft.sign(trial, digest_for(trial))), node, authority.chain_der, networks, now)
    certificate = signer.sign(draft)
    refuse_signed(_der(certificate), node, authority.chain_der, networks, now)
    store_certificate(connection, authority, certificate, node.id)
    until = certificate.not_valid_after_utc
    record(connection, "issue", f"{node.name} serial {certificate.serial_number:x} until {until:%Y-%m-%d %H:%M}")
    return certificate


def store_certificate(
    connection: Connection, authority: CaAuthority, certificate: x509.Certificate, node_id: int | None
) -> int:
    """Write a certificate into the registry and return its id; ``node_id``: ``None`` if it is not a node's."""
    row = {
        "authority_id": authority.id,
        "serial": f"{certificate.serial_number:x}",
        "node_id": node_id,
        "subject": certificate.subject.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "der": _der(certificate),
    }
    return int(connection.execute(insert(schema.certificate).returning(_CERTIFICATE.id), row).scalar_one())


def certificates_of(connection: Connection, node_id: int) -> Sequence[IssuedCertificate]:
    """Return all certificates of a node, the latest last."""
    query = select(*_COLUMNS).where(_CERTIFICATE.node_id == node_id).order_by(_CERTIFICATE.id)
    return [IssuedCertificate(int(serial, 16), *others) for serial, *others in connection.execute(query)]


def latest_certificates(connection: Connection) -> dict[int, IssuedCertificate]:
    """Return the latest certificate of each node, by the node's id."""
    latest = select(func.max(_CERTIFICATE.id)).group_by(_CERTIFICATE.node_id)
    query = select(_CERTIFICATE.node_id, *_COLUMNS).where(_CERTIFICATE.id.in_(latest))
    rows = connection.execute(query)
    return {node_id: IssuedCertificate(int(serial, 16), *others) for node_id, serial, *others in rows}


def public_key_of_request(data: bytes) -> CertificatePublicKeyTypes:
    """Return the public key of a certificate request, PEM or DER, that its private key has signed.

    Nothing else in it is used: the content of the certificate comes from the registry. Raises ``CaError``.
    """
    return read_request(data).public_key()


def read_request(data: bytes) -> x509.CertificateSigningRequest:
    """Return a certificate request, PEM or DER, that is signed by the key in it. Raises ``CaError``."""
    try:
        load = x509.load_pem_x509_csr if b"-----BEGIN" in data else x509.load_der_x509_csr
        request = load(data)
        signed = request.is_signature_valid
        request.public_key()
    except Exception as error:
        raise CaError(f"not a certificate request (PKCS #10): {error}",
                      "make one with `openssl req -new` or `pki --req`") from error  # fmt: skip
    if not signed:
        raise CaError("the certificate request is not signed by its own key", "make it again")
    return request


def _refuse_weak(key: CertificatePublicKeyTypes) -> None:
    size, shortest = getattr(key, "key_size", None), _SHORTEST_RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        shortest = _SHORTEST_CURVE
    if size is not None and size < shortest:
        raise CaError(f"the node's key has {size} bits", f"use P-384, or RSA with at least {_SHORTEST_RSA}")


def _refuse_compromised(connection: Connection, key: CertificatePublicKeyTypes) -> None:
    """Raise ``CaError`` for a key of which a certificate was revoked as compromised: somebody else has it too."""
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    query = select(_CERTIFICATE.der, _CERTIFICATE.serial).where(_CERTIFICATE.reason == Reason.KEY_COMPROMISE)
    for der, serial in connection.execute(query):
        if octets in der:  # a certificate has its key in this form
            raise CaError(f"the key is that of serial {serial}, which was revoked as compromised", "make a new key")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
