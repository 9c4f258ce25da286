"""The sizes of ESP and GRE."""

import pytest

from dmvpn_agent.kernel.links.mtu import EspSizes, largest_inner, negotiated, proposed

GCM = EspSizes(8, 16, 4)


@pytest.mark.parametrize(
    ("uplink", "esp", "udp", "key", "inner"),
    [
        (1500, GCM, False, True, 1438),  # as the kernel reports it with an interface of MTU 1480
        (1500, GCM, True, True, 1430),
        (1500, GCM, False, False, 1442),
        (1492, GCM, True, True, 1422),  # PPPoE
        (1500, EspSizes(16, 16, 16), False, True, 1430),
        (1500, EspSizes(16, 12, 16), True, True, 1414),
        (40, GCM, False, True, 0),
    ],
)
def test_what_an_uplink_leaves(uplink: int, esp: EspSizes, udp: bool, key: bool, inner: int) -> None:
    """By RFC 4303; 1400 leaves 38 bytes with AES-GCM and no NAT."""
    assert largest_inner(uplink, esp, udp=udp, key=key) == inner


@pytest.mark.parametrize(
    ("encryption", "integrity", "esp"),
    [
        ("AES_GCM_16-256", "", GCM),
        ("AES_CBC-128", "HMAC_SHA2_256_128", EspSizes(16, 16, 16)),
        ("CHACHA20_POLY1305", "", GCM),
        ("NULL", "HMAC_SHA1_96", EspSizes(0, 12, 4)),
        ("3DES_CBC", "HMAC_MD5_96", EspSizes(8, 12, 8)),
        ("AES_CTR-256", "HMAC_SHA2_512_256", EspSizes(8, 32, 4)),
        ("KUZNYECHIK", "", None),
        ("AES_CBC-128", "STREEBOG", None),
    ],
)
def test_negotiated_algorithms(encryption: str, integrity: str, esp: EspSizes | None) -> None:
    """With charon's names; an unknown one has no sizes."""
    assert negotiated(encryption, integrity) == esp


@pytest.mark.parametrize(
    ("proposal", "sizes"),
    [
        ("aes256gcm16", {GCM}),
        ("aes128gcm128-ecp256", {GCM}),
        ("chacha20poly1305-x25519-esn", {GCM}),
        ("aes128-sha256", {EspSizes(16, 16, 16)}),
        ("aes256-aes128-sha1-sha512-modp2048", {EspSizes(16, 12, 16), EspSizes(16, 32, 16)}),
        ("aes256gcm8-aes128-sha256", {EspSizes(8, 8, 4), EspSizes(16, 16, 16)}),
        ("default", set()),
    ],
)
def test_proposals(proposal: str, sizes: set[EspSizes]) -> None:
    """Every choice that they leave."""
    assert set(proposed(proposal)) == sizes
