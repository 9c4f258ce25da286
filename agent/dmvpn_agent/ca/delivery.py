"""A certificate for a node, and the files that bring it there."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from sqlalchemy import Connection

from dmvpn_agent.ca.authorities import Signer, issuing_authority, unlock
from dmvpn_agent.ca.bundle import Bundle, chain_pem, new_password
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.files import pending_file, read_input
from dmvpn_agent.ca.issuing import issue, public_key_of_request
from dmvpn_agent.ca.node import Node
from dmvpn_agent.ca.reading import find_node
from dmvpn_agent.runtime.owner_rights import own_rights
from dmvpn_agent.x509.private_key import new_key


class Form(StrEnum):
    """In which form a node gets its certificate."""

    #: PKCS #12 with the key, protected by a password.
    PFX = "pfx"
    #: The key, not encrypted, and the certificates.
    PEM = "pem"
    #: The certificates, for a key that never left the node.
    REQUEST = "csr"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the operator asked for. ``out``: the file; ``None`` for the node's name in this folder.

    ``request``: the certificate request. ``password_file``: where the password is written instead of being shown.
    """

    form: Form = Form.PFX
    out: Path | None = None
    request: Path | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was done. ``password``: the bundle's, if it is in no file."""

    node: Node
    certificate: x509.Certificate
    file: Path
    password: str | None = None
    password_file: Path | None = None


def deliver(
    database: Database, prepare: Callable[[Connection], str], delivery: Delivery, passphrase: bytes, now: datetime
) -> Delivered:
    """Change the registry, issue a certificate to a node, and write its files; all of it or nothing.

    ``prepare`` changes the registry and returns the node's name. The files are complete on the disk before the
    registry keeps the change, and get their names afterwards: no certificate exists that the registry does not know.
    Raises ``CaError``.
    """
    request = read_input(delivery.request, "the certificate request") if delivery.request else None
    with ExitStack() as stack:
        with database.writing() as connection:
            signer = unlock(issuing_authority(connection), passphrase, now)
            node = find_node(connection, prepare(connection))
            certificate, data, password = _issued(connection, signer, node, request, delivery.form, now)
            out = delivery.out or Path(f"{node.name}.{'pfx' if delivery.form is Form.PFX else 'pem'}")
            mode = 0o600 if request is None else 0o644
            with own_rights():
                pending = [stack.enter_context(pending_file(out, data, mode=mode, option="--out"))]
                if password is not None and delivery.password_file is not None:
                    text = f"{password}\n".encode()
                    pending.append(stack.enter_context(pending_file(delivery.password_file, text, mode=0o600)))
        try:
            for file in pending:
                file.put()
        except CaError as error:
            raise CaError(f"{node.name} is in the registry, but its file is not in place: {error}",
                          f"then `dmvpn-agent ca renew {node.name}` makes another one") from error  # fmt: skip
    if delivery.password_file is not None:
        return Delivered(node, certificate, out, None, delivery.password_file)
    return Delivered(node, certificate, out, password)


def _issued(
    connection: Connection, signer: Signer, node: Node, request: bytes | None, form: Form, now: datetime
) -> tuple[x509.Certificate, bytes, str | None]:
    """Return a new certificate, the content of its file, and the password of the file."""
    chain = signer.authority.chain
    if request is not None:
        certificate = issue(connection, signer, node, public_key_of_request(request), now)
        return certificate, chain_pem((certificate, *chain)), None
    key = new_key()
    certificate = issue(connection, signer, node, key.public_key(), now)
    bundle = Bundle(node.name, certificate, key, chain)
    if form is Form.PEM:
        return certificate, bundle.pem(), None
    password = new_password()
    return certificate, bundle.pfx(password), password
