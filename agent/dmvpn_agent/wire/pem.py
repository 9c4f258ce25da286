"""PEM (RFC 7468): the DER within, of a file that may as well be DER itself."""

import binascii

from dmvpn_agent.wire.claims import shown

_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_SPACE = b" \t\r\n"


class PemError(Exception):
    """A file is not in the form it should have; the text says how, for an operator."""


def der_blocks(data: bytes, label: str, longest: int) -> list[bytes]:
    """Return what a file holds: the content of its PEM blocks, or the file where it has none.

    Every block must be of the kind ``label``; text around the blocks is passed over. Raises ``PemError``, for more
    than ``longest`` bytes too.
    """
    if len(data) > longest:
        raise PemError(f"it is {len(data)} bytes long, more than {longest}")
    if _BEGIN not in data:
        return [data]
    return [_content(block, label) for block in data.split(_BEGIN)[1:]]


def _content(block: bytes, label: str) -> bytes:
    """Return the content of a block, which is given from its label on."""
    kind, _, rest = block.partition(_DASHES)
    content, end, closing = rest.partition(_END)
    if not end or not closing.startswith(kind + _DASHES):
        raise PemError("a PEM block has no end")
    if kind != label.encode():
        raise PemError(f"a PEM block is {shown(kind.decode('latin-1'), 40)} and not {label}")
    try:
        return binascii.a2b_base64(content.translate(None, _SPACE), strict_mode=True)
    except binascii.Error:
        raise PemError("a PEM block is not base64") from None
