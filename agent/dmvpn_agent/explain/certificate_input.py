"""A certificate as an operator has it: in a file, on standard input, or as hexadecimal from a log."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.pem import PemError, der_blocks, is_pkcs12

#: The argument for a peer without certificate.
NONE = "none"
MAX_INPUT_BYTES = 1 << 20

_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f:\s]+")
_EVENT = re.compile(rb"remote_cert=([0-9A-Fa-f]+)")
_PEM = b"-----BEGIN "


class InputError(Exception):
    """The input cannot be a certificate; the text names what was found and what is expected."""


class CertificateInput(NamedTuple):
    """A certificate, ``None`` for a peer without one; ``read_from`` is its form and place, for people."""

    certificate: Certificate | BadCertificate | None
    read_from: str


def read_certificate_argument(word: str) -> CertificateInput:
    """Read what the operator typed: a file, ``-``, ``none``, or the certificate itself in hexadecimal.

    Raises ``InputError``.
    """
    if word == NONE:
        return CertificateInput(None, "no certificate shown")
    if word == "-":
        return decode_certificate(sys.stdin.buffer.read(MAX_INPUT_BYTES + 1), "standard input")
    try:
        is_file = Path(word).exists()
    except OSError:  # a name of this length
        is_file = False
    if is_file:
        return read_certificate_file(Path(word))
    if len(word) % 2 == 0 and _HEXADECIMAL.fullmatch(word.encode()):
        return decode_certificate(word.encode(), "the command line")
    raise InputError(f"{_short(word)}: no such file, and not hexadecimal; expected a file in PEM, DER or hexadecimal,"
                     f" `-` for standard input, the certificate in hexadecimal, or `{NONE}`")  # fmt: skip


def read_certificate_file(file: Path) -> CertificateInput:
    """Read a certificate from a file. Raises ``InputError``."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    return decode_certificate(data, str(file))


def decode_certificate(data: bytes, place: str) -> CertificateInput:
    """Read a certificate in PEM, DER or hexadecimal, or from an event of nhrpd. Raises ``InputError``.

    Input in the right form that is no certificate becomes a ``BadCertificate``, as in the running agent.
    """
    if len(data) > MAX_INPUT_BYTES:
        raise InputError(f"{place}: longer than {MAX_INPUT_BYTES} bytes")
    if _PEM in data:
        try:
            first, *others = der_blocks(data, "CERTIFICATE", MAX_INPUT_BYTES)
        except PemError as error:
            raise InputError(f"{place}: {error}") from None
        return CertificateInput(read_certificate(first), f"PEM{' (the first of several)' if others else ''}, {place}")
    if found := _EVENT.search(data):
        return CertificateInput(_hexadecimal(found[1]), f"an event's remote_cert, {place}")
    if data.strip() and _HEXADECIMAL.fullmatch(data):
        return CertificateInput(_hexadecimal(data), f"hexadecimal, {place}")
    if is_pkcs12(data):
        raise InputError(
            f"{place}: a PKCS #12 file (.p12, .pfx), which is encrypted; take the certificate out of it:"
            " openssl pkcs12 -in FILE -clcerts -nokeys -out certificate.pem (dmvpn-ca's password is in FILE's name)"
        )
    if data[:1] == b"\x30":
        return CertificateInput(read_certificate(data), f"DER, {place}")
    what = "empty" if not data.strip() else "no certificate in PEM, DER or hexadecimal"
    raise InputError(f"{place}: {what}")


def _hexadecimal(text: bytes) -> Certificate | BadCertificate:
    try:
        return read_certificate(bytes.fromhex(re.sub(rb"[:\s]", b"", text).decode()))
    except ValueError:
        return BadCertificate("not hexadecimal: a digit is missing")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
