"""A node's first certificate, by EST (RFC 7030) with a one-time token: the key is made here and never leaves.

The CA is known by its certificate in a file, or by the fingerprint of it; a server that shows neither gets no token.
"""

import base64
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.renewal import est
from dmvpn_agent.renewal.est import EstError
from dmvpn_agent.renewal.est_client import EstClient, EstRefused, tls_context
from dmvpn_agent.renewal.key_pair import requested_key
from dmvpn_agent.runtime.url import BadUrl, Url
from dmvpn_agent.setup.bundle import Bundle, Enrolled, read_bundle
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.x509.private_key import PrivateKey, plain_pem

#: The key until setup is done: a token counts once, but for the same key again, if an answer was lost.
KEY_FOLDER = Path("/var/lib/dmvpn-agent-enrol")
_KEY = "key.pem"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the operator got from the CA.

    ``authorities``: the CAs of the server's TLS certificate, in PEM; or ``fingerprint``: the SHA-256 of one of the
    CA's certificates, in hexadecimal.
    """

    server: Url
    token: str = field(repr=False)
    authorities: bytes = b""
    fingerprint: str = ""

    @classmethod
    def parse(cls, server: str, token: str, authorities: bytes, fingerprint: str) -> "Enrolment":
        """Read what was typed. Raises ``Refused``."""
        url = parse_server(server)
        digits = re.sub(r"[:\s]", "", fingerprint).lower().removeprefix("sha256")
        if fingerprint and not re.fullmatch("[0-9a-f]{64}", digits):
            raise Refused(Refusal("--ca-fingerprint", fingerprint, "the SHA-256 of the CA's certificate: 64"
                                  " hexadecimal digits", "copy what `dmvpn-agent ca token` prints"))  # fmt: skip
        if not digits and not authorities:
            raise Refused(Refusal("the CA", "nothing says which CA's server this is", "--ca-fingerprint or --ca",
                                  "ask the CA's operator for the fingerprint, but not by this network"))  # fmt: skip
        if not re.fullmatch(r"[!-~]{1,200}", token):
            raise Refused(Refusal("the token", "it is empty, or no token", "what `dmvpn-agent ca token NODE` printed",
                                  "give it with --token or --token-file"))  # fmt: skip
        return cls(url, token, authorities, digits)


def parse_server(text: str) -> Url:
    """Return the address of an EST server. Raises ``Refused``."""
    try:
        url = Url.parse(text)
    except BadUrl:
        raise Refused(Refusal("--enrol", text, "https://ca.example.com:8443", "give the address of the CA's"
                              " server: https://, a name of its certificate, and the port")) from None  # fmt: skip
    if url.scheme != "https" or "?" in url.target:
        raise Refused(Refusal("--enrol", text, "an address that begins with https://", "EST is for TLS only"))
    return url


async def enrol(enrolment: Enrolment, now: datetime, folder: Path = KEY_FOLDER) -> Bundle:
    """Return the bundle of the certificate that the CA gives for the token. Raises ``Refused`` and ``OSError``."""
    try:
        anchors = enrolment.authorities or await _pinned(enrolment)
        client = EstClient(enrolment.server, tls_context(anchors))
        authorities = await client.authorities()
        key, answer = await _enrolled(client, enrolment.token, folder)
        own = est.of_key(answer, key)
    except EstRefused as error:
        raise Refused(Refusal("enrolment", str(error), "a certificate", "ask the CA's operator; for another token,"
                              " `dmvpn-agent ca token NODE`")) from error  # fmt: skip
    except EstError as error:
        raise Refused(Refusal("enrolment", str(error), "the CA's EST server", "check the address (its host is one of"
                              " `ca serve --name`), network, clock and fingerprint")) from error  # fmt: skip
    parts = (own, *(one for one in authorities if one != own))
    bundle = read_bundle(plain_pem(key) + b"".join(map(_pem, parts)), None, now)
    return replace(bundle, enrolled=Enrolled(str(enrolment.server), _apart(anchors, bundle)))


async def _enrolled(client: EstClient, token: str, folder: Path) -> tuple[PrivateKey, tuple[x509.Certificate, ...]]:
    """Return the key and what the CA has issued for it. A new key stays only if the CA may have issued something."""
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    key = requested_key(folder / _KEY)
    credentials = base64.b64encode(f":{token}".encode()).decode()
    try:
        return key, await client.enroll(est.request_for(key, x509.Name([])), f"Basic {credentials}")
    except EstRefused as error:
        if is_new and error.issued_nothing:
            forget_key(folder)
        raise


def _apart(anchors: bytes, bundle: Bundle) -> bytes:
    """Return the CAs of the server if they are others than those of the DMVPN."""
    known = {x509.load_pem_x509_certificate(pem) for pem in bundle.authorities}
    try:
        return b"" if known.intersection(x509.load_pem_x509_certificates(anchors)) else anchors
    except ValueError:  # OpenSSL reads more than cryptography
        return anchors


def forget_key(folder: Path = KEY_FOLDER) -> None:
    """Remove the key of the request: the node has its own copy by now."""
    with suppress(OSError):
        (folder / _KEY).unlink(missing_ok=True)
        folder.rmdir()


async def _pinned(enrolment: Enrolment) -> bytes:
    """Return the CA's certificate with the fingerprint, in PEM. Nothing secret is sent meanwhile."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    shown = await EstClient(enrolment.server, context).authorities()
    for one in shown:
        if one.fingerprint(SHA256()).hex() == enrolment.fingerprint:
            return _pem(one)
    found = ", ".join(one.fingerprint(SHA256()).hex() for one in shown)
    raise Refused(Refusal("the CA", f"its server shows certificates with the SHA-256 {found}", enrolment.fingerprint,
                          "it is another CA, or somebody in between; the token was not sent"))  # fmt: skip


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
