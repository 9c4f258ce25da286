"""The largest inner packet, against the size of each packet by RFC 4303."""

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.kernel.links.mtu import CIPHERS, INTEGRITIES, EspSizes, largest_inner, negotiated, outer_size

SIZES = [sizes for cipher in CIPHERS for integrity in ("", *INTEGRITIES) if (sizes := negotiated(cipher, integrity))]


@given(st.integers(500, 9000), st.sampled_from(SIZES), st.booleans(), st.booleans())
def test_it_fits_and_one_byte_more_does_not(uplink: int, esp: EspSizes, udp: bool, key: bool) -> None:
    """For every cipher and integrity, with and without NAT and key."""
    inner = largest_inner(uplink, esp, udp=udp, key=key)
    assert outer_size(inner, esp, udp=udp, key=key) <= uplink < outer_size(inner + 1, esp, udp=udp, key=key)


@given(st.integers(1, 9000), st.sampled_from(SIZES), st.booleans())
def test_a_packet_by_the_rfc(inner: int, esp: EspSizes, udp: bool) -> None:
    """Byte by byte: header, IV, payload, padding until pad length and next header end on a boundary, ICV."""
    body = bytearray(8 + inner)  # GRE with key, and the packet
    while (len(body) + 2) % 4 or (len(body) + 2) % esp.block:
        body += b"\0"
    packet = bytes(20) + bytes(8 if udp else 0) + bytes(8) + bytes(esp.iv) + bytes(body) + bytes(2) + bytes(esp.icv)
    assert outer_size(inner, esp, udp=udp) == len(packet)
