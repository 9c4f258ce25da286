"""The outer layer of SCEP's messages: what is written is read, and what was changed is not."""

from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import example, given
from hypothesis import strategies as st

from dmvpn_agent.enrolment.signed_message import (
    SignedMessage,
    WeakAlgorithm,
    read_signed,
    write_signed,
)
from dmvpn_agent.x509.der import OCTET_STRING, Malformed, encoded
from scep_client import new_rsa_key, self_signed


@lru_cache
def signer() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = new_rsa_key()
    return key, self_signed(key)


@lru_cache
def written() -> bytes:
    return write_signed(b"content", {bytes.fromhex("06022a03"): encoded(OCTET_STRING, b"value")}, *signer())


attributes = st.dictionaries(
    st.binary(min_size=1, max_size=4).map(lambda octets: b"\x06" + encoded(0x2A, b"\x2a" + octets)[1:]),
    st.binary(max_size=300).map(lambda octets: encoded(OCTET_STRING, octets)),
    max_size=5,
)


def understood(data: bytes) -> SignedMessage | None:
    try:
        return read_signed(data)
    except (Malformed, WeakAlgorithm):
        return None


@given(content=st.binary(max_size=500), given=attributes)
def test_what_is_written_is_read(content: bytes, given: dict[bytes, bytes]) -> None:
    """Content, attributes and signer, with the two attributes of every message."""
    found = read_signed(write_signed(content, given, *signer()))
    assert (found.content, found.signer) == (content, signer()[1])
    assert given.items() <= found.attributes.items()
    assert len(found.attributes) == len(given) + 2


@example(bytes.fromhex("3009020101020101020101"))
@given(st.binary(max_size=300))
def test_nothing_else_is_read(data: bytes) -> None:
    """No input raises anything but the two exceptions, and none that nobody signed is understood."""
    assert understood(data) is None


@given(st.data())
def test_a_changed_message_says_nothing_else(data: st.DataObject) -> None:
    """Octets changed, removed or put in: it is refused, or says what it said."""
    octets = bytearray(written())
    at = data.draw(st.integers(0, len(octets) - 1))
    match data.draw(st.sampled_from(("change", "remove", "insert", "cut"))):
        case "change":
            octets[at] ^= data.draw(st.integers(1, 255))
        case "remove":
            del octets[at]
        case "insert":
            octets.insert(at, data.draw(st.integers(0, 255)))
        case _:
            del octets[at:]
    found = understood(bytes(octets))
    if found is not None:
        original = read_signed(written())
        assert (found.content, found.attributes) == (original.content, original.attributes)
