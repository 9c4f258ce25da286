"""The CAs in the registry: a root and, if wanted, an issuing CA below it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, insert, select, update

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.keys import decrypted, encrypted
from dmvpn_agent.ca.profile import Networks, ca_certificate, organization
from dmvpn_agent.x509.private_key import PrivateKey, digest_for, new_key

_AUTHORITY, _SERVICE = schema.authority.c, schema.service.c
_TIME = "%Y-%m-%d %H:%M"


class AuthorityName(StrEnum):
    """What the registry calls its CAs."""

    ROOT = "root"
    ISSUING = "issuing"


@dataclass(frozen=True, slots=True)
class CaAuthority:
    """A CA. ``key`` is encrypted; ``None`` if it is kept elsewhere.

    ``issues_to_nodes``: nodes have their certificates from it, and not from a CA below. ``above``: the CAs above it,
    nearest first.
    """

    id: int
    name: str
    certificate: x509.Certificate
    key: str | None
    issues_to_nodes: bool
    above: tuple[x509.Certificate, ...] = ()

    @property
    def signs_crls(self) -> bool:
        """Tell whether its certificate allows it to sign CRLs."""
        try:
            return self.certificate.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
        except x509.ExtensionNotFound:
            return True

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return its certificate and those above it."""
        return (self.certificate, *self.above)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """Return the same in DER."""
        return tuple(one.public_bytes(Encoding.DER) for one in self.chain)


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA with its decrypted key."""

    authority: CaAuthority
    key: PrivateKey

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Return the signed certificate."""
        return _signed(builder, self.key)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """For how many days the certificates of the CAs are valid."""

    root_days: int = 7300
    issuing_days: int = 3650


def make_authorities(
    connection: Connection, name: str, passphrase: bytes, now: datetime, *, with_issuing: bool, keep_root: bool,
    lifetimes: Lifetimes, held: Networks | None,
) -> tuple[str, list["Signer"]]:  # fmt: skip
    """Make the CAs of a new registry; return the root's encrypted key, and all CAs with their keys, the root first.

    ``name``: the organization; ``keep_root``: whether the registry keeps the root's key too. Raises ``CaError``.
    """
    base = organization(name)
    root_key, issuing_key = new_key(), new_key()
    name_of_root = _named(base, "DMVPN root CA" if with_issuing else "DMVPN CA")
    days, length = lifetimes.root_days, int(with_issuing)
    root = _signed(ca_certificate(name_of_root, root_key.public_key(), None, now, days, length, held), root_key)
    root_pem = encrypted(root_key, passphrase)
    store_authority(connection, AuthorityName.ROOT, root, root_pem if keep_root else None)
    keys = [root_key]
    if with_issuing:
        name_of_issuing, days = _named(base, "DMVPN issuing CA"), lifetimes.issuing_days
        draft = ca_certificate(name_of_issuing, issuing_key.public_key(), root, now, days, 0, held)
        store_authority(
            connection, AuthorityName.ISSUING, _signed(draft, root_key), encrypted(issuing_key, passphrase)
        )
        keys.append(issuing_key)
    made = zip(read_authorities(connection), keys, strict=True)
    return root_pem, [Signer(authority, key) for authority, key in made]


def _signed(draft: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return draft.sign(key, digest_for(key))


def read_authorities(connection: Connection) -> list[CaAuthority]:
    """Return the CAs of the registry, the root first."""
    above: tuple[x509.Certificate, ...] = ()
    found = []
    rows = connection.execute(select(schema.authority).order_by(_AUTHORITY.id)).all()
    for row in rows:
        certificate = x509.load_der_x509_certificate(row.certificate)
        found.append(CaAuthority(row.id, row.name, certificate, row.key, row is rows[-1], above))
        above = (certificate, *above)
    return found


def issuing_authority(connection: Connection) -> CaAuthority:
    """Return the CA that issues certificates to nodes. Raises ``CaError`` if there is none."""
    found = read_authorities(connection)
    if not found:
        raise CaError("the registry has no CA", "`dmvpn-agent ca init` makes one with the registry")
    return found[-1]


def unlock(authority: CaAuthority, passphrase: bytes, now: datetime) -> Signer:
    """Return the CA with its key. Raises ``CaError`` for a wrong passphrase or key, or outside the CA's validity."""
    if authority.key is None:
        raise CaError(f"the key of the {authority.name} CA is not in the registry", "`ca init` wrote it to a file")
    for certificate in authority.chain:
        _check_validity(certificate, now)
    key = decrypted(authority.key, passphrase)
    if key.public_key() != authority.certificate.public_key():
        raise CaError(f"the key is not that of the {authority.name} CA", "name the file that `ca init` wrote")
    return Signer(authority, key)


def change_passphrase(connection: Connection, old: bytes, new: bytes) -> list[str]:
    """Encrypt the keys in the registry with another passphrase; return the names of their CAs. Raises ``CaError``."""
    changed = []
    for authority in read_authorities(connection):
        if authority.key is not None:
            key = encrypted(decrypted(authority.key, old), new)
            connection.execute(update(schema.authority).where(_AUTHORITY.id == authority.id).values(key=key))
            changed.append(authority.name)
    for name, pem in connection.execute(select(_SERVICE.name, _SERVICE.key)).all():
        key = encrypted(decrypted(pem, old), new)
        connection.execute(update(schema.service).where(_SERVICE.name == name).values(key=key))
    record(connection, "passphrase", " ".join(changed))
    return changed


def _check_validity(certificate: x509.Certificate, now: datetime) -> None:
    name = certificate.subject.rfc4514_string()
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        raise CaError(f"this machine's clock says {now:{_TIME}} UTC, and {name} is valid only from {begin:{_TIME}}",
                      "set the clock; nothing was signed")  # fmt: skip
    if now > end:
        raise CaError(f"{name} expired at {end:{_TIME}} UTC", "make a new CA, or set the clock if it is wrong")


def _named(base: tuple[x509.RelativeDistinguishedName, ...], common_name: str) -> x509.Name:
    own = x509.NameAttribute(NameOID.COMMON_NAME, common_name)
    return x509.Name([*base, x509.RelativeDistinguishedName([own])])


def store_authority(
    connection: Connection, name: AuthorityName, certificate: x509.Certificate, key: str | None
) -> None:
    """Write a CA into the registry."""
    row = {"name": name, "certificate": certificate.public_bytes(Encoding.DER), "key": key, "crl_number": 0}
    connection.execute(insert(schema.authority), row)
