"""Compression of HTTP messages."""

import zlib
from collections.abc import Iterable, Iterator


def takes_gzip(accepted: str) -> bool:
    """Tell whether a client takes gzip, by its ``Accept-Encoding``."""
    codings = [coding.replace(" ", "").split(";") for coding in accepted.lower().split(",")]
    return any(coding[0] == "gzip" and coding[1:] not in (["q=0"], ["q=0.0"]) for coding in codings)


def compressed(body: bytes) -> bytes:
    """Return a body in gzip."""
    return b"".join(compressed_parts((body,)))


def compressed_parts(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a body in gzip, as it comes."""
    # The fastest level: 1.5 MB become 147 kB in 3 ms, instead of 125 kB in 20 ms.
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def decompressed(body: bytes, longest: int) -> bytes:
    """Return the content of a body in gzip. Raises ``ValueError`` if it is not gzip, or longer than ``longest``."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(body, longest)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"not complete, or longer than {longest} bytes")
    return found
