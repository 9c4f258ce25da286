"""A CA that charon trusts and the policy does not: an office's, one of whose holders has the victim's name."""

from contextlib import suppress
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import foreign_ca
from contract.charon_pair import Side
from contract.impersonation import ELSEWHERE, OWN, VICTIM, Scene, conn
from dmvpn_agent.bridge.authority_files import AuthorityFiles, IsOurs
from dmvpn_agent.charon.session import CommandFailed
from factories import authority_pem

OFFICE = foreign_ca.authority("Office CA")
SUBJECT = x509.load_der_x509_certificate(VICTIM).subject
KEY = foreign_ca.KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ours(folder: Path) -> IsOurs:
    """Return what tells whether our own CA issued a certificate."""
    file = folder / "ca.pem"
    file.write_bytes(authority_pem())
    return AuthorityFiles((file,)).issued


async def trust(side: Side) -> None:
    """Have a charon trust the office's CA."""
    await side.ask("load-cert", {"type": "X509", "flag": "CA", "data": DER_cert_to_PEM_cert(OFFICE)})


async def come(scene: Scene, by: bytes = b"") -> None:
    """Have somebody of the office come as the victim, by this certificate."""
    certificate = DER_cert_to_PEM_cert(by or foreign_ca.certificate("Office CA", SUBJECT))
    made: dict[str, Any] = conn(scene.peer, scene.node, (OWN,), (OWN,), scene.node.host, ELSEWHERE)
    made |= {"local-0": {"auth": "pubkey", "certs": [certificate]}, "local_addrs": [ELSEWHERE]}
    await scene.peer.ask("load-key", {"type": "any", "data": KEY})
    await scene.peer.ask("load-conn", {"attack": made})
    with suppress(CommandFailed):
        await scene.peer.ask("initiate", {"ike": "attack", "child": "dmvpn", "timeout": "10000"})
