"""Reads PEM (RFC 7468) or DER files into DER."""

import binascii
import re

from dmvpn_agent.x509.claims import escaped

_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_END_LINE = re.compile(rb"-----END [A-Z0-9 ]+-----")
_SPACE = b" \t\r\n"
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|[\x81-\x84].{1,4}?)\x02\x01\x03", re.DOTALL)


class PemError(Exception):
    """A file has the wrong form; the text says how, for an operator."""


def der_blocks(data: bytes, label: str, longest: int) -> list[bytes]:
    """Return the content of a file's PEM blocks, or the file itself if it has none.

    Every block must be of the kind ``label``. Private keys, which are often in one file with their certificates, and
    text around the blocks are skipped. Raises ``PemError``, also for more than ``longest`` bytes.
    """
    if len(data) > longest:
        raise PemError(f"it is {len(data)} bytes long, more than {longest}")
    if _BEGIN not in data:
        if is_pkcs12(data):
            raise PemError("it is a PKCS #12 file (.p12, .pfx): extract the certificates with `openssl pkcs12`")
        return [data]
    found = [_content(block, label) for block in data.split(_BEGIN)[1:] if not _is_of_a_key(block)]
    if not found:
        raise PemError(f"it contains a private key, and no {label}")
    return found


def has_private_key(data: bytes) -> bool:
    """Tell whether a PEM file contains a private key."""
    return any(_is_of_a_key(block) for block in data.split(_BEGIN)[1:])


def is_pkcs12(data: bytes) -> bool:
    """Tell whether a file is PKCS #12 (RFC 7292): a SEQUENCE that begins with the version, 3."""
    return _PKCS12.match(data) is not None


def is_cut_off(data: bytes) -> bool:
    """Tell whether PEM ends within a block, or PKCS #12 before its outermost element ends.

    The latter is not known of an indefinite length (X.690, 8.1.3.6).
    """
    if _BEGIN in data:
        return data.count(_BEGIN) > len(_END_LINE.findall(data))
    octets = data[1] & 0x7F if data[1] > 0x80 else 0
    length = int.from_bytes(data[2 : 2 + octets]) if octets else data[1] & 0x7F
    return len(data) < 2 + octets + length


def _is_of_a_key(block: bytes) -> bool:
    kind = block.partition(_DASHES)[0]
    return kind.endswith(b"PRIVATE KEY") or kind == b"EC PARAMETERS"


def _content(block: bytes, label: str) -> bytes:
    """Return the content of a block; ``block`` begins with its label."""
    kind, _, rest = block.partition(_DASHES)
    content, end, closing = rest.partition(_END)
    if not end or not closing.startswith(kind + _DASHES):
        raise PemError("a PEM block has no end")
    if kind != label.encode():
        raise PemError(f"a PEM block is {escaped(kind.decode('latin-1'), 40)} and not {label}")
    try:
        return binascii.a2b_base64(content.translate(None, _SPACE), strict_mode=True)
    except binascii.Error:
        raise PemError("a PEM block is not base64") from None
