"""How much of an uplink's MTU ESP and GRE leave for the packets inside the tunnel.

Arithmetic of RFC 4303, sections 2 and 3.1.1 (transport mode): behind the IP header come SPI and sequence number (8
bytes), the IV, the payload, padding, pad length and next header (2 bytes, in which payload, padding and they end on a
boundary of the block size, at least 4 bytes), and the ICV. NAT-T puts a UDP header before it (RFC 3948). The payload
is the GRE header (RFC 2784: 4 bytes; RFC 2890: 4 more for the key) and the inner packet.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

IP_HEADER, UDP_HEADER, ESP_HEADER, ESP_TRAILER = 20, 8, 8, 2
GRE_HEADER, GRE_KEY_FIELD = 4, 4


class EspSizes(NamedTuple):
    """What an ESP transform adds: bytes of IV and ICV, and the block size that it pads to."""

    iv: int
    icv: int
    block: int


class Cipher(NamedTuple):
    """A cipher's IV and block size; ``icv`` is 0 unless it authenticates too."""

    iv: int
    block: int
    icv: int = 0


#: By strongSwan's names without key size (``encryption_algorithm_names``).
CIPHERS: Mapping[str, Cipher] = {
    **{f"AES_GCM_{icv}": Cipher(8, 4, icv) for icv in (8, 12, 16)},
    **{f"{name}_CCM_{icv}": Cipher(8, 4, icv) for name in ("AES", "CAMELLIA") for icv in (8, 12, 16)},
    "CHACHA20_POLY1305": Cipher(8, 4, 16),
    "NULL_AES_GMAC": Cipher(8, 4, 16),
    **{f"{name}_CTR": Cipher(8, 4) for name in ("AES", "CAMELLIA")},
    **{f"{name}_CBC": Cipher(16, 16) for name in ("AES", "CAMELLIA", "SERPENT", "TWOFISH")},
    **{f"{name}_CBC": Cipher(8, 8) for name in ("3DES", "DES", "BLOWFISH", "CAST")},
    "NULL": Cipher(0, 4),
}
#: Bytes of the ICV, by strongSwan's names (``integrity_algorithm_names``).
INTEGRITIES: Mapping[str, int] = {
    "HMAC_MD5_96": 12, "HMAC_MD5_128": 16, "HMAC_SHA1_96": 12, "HMAC_SHA1_160": 20, "AES_XCBC_96": 12,
    "AES_CMAC_96": 12, "CAMELLIA_XCBC_96": 12, "HMAC_SHA2_256_96": 12, "HMAC_SHA2_256_128": 16,
    "HMAC_SHA2_384_192": 24, "HMAC_SHA2_512_256": 32, "AES_128_GMAC": 16, "AES_192_GMAC": 16, "AES_256_GMAC": 16,
}  # fmt: skip

_KEYWORD_CIPHERS = (
    (re.compile(r"aes(?:128|192|256)?gcm(\d+)"), "AES_GCM_{}"),
    (re.compile(r"aes(?:128|192|256)?ccm(\d+)"), "AES_CCM_{}"),
    (re.compile(r"camellia(?:128|192|256)?ccm(\d+)"), "CAMELLIA_CCM_{}"),
    (re.compile(r"chacha20poly1305"), "CHACHA20_POLY1305"),
    (re.compile(r"aes(?:128|192|256)?gmac"), "NULL_AES_GMAC"),
    (re.compile(r"aes(?:128|192|256)?ctr"), "AES_CTR"),
    (re.compile(r"camellia(?:128|192|256)?ctr"), "CAMELLIA_CTR"),
    (re.compile(r"aes(?:128|192|256)?"), "AES_CBC"),
    (re.compile(r"camellia(?:128|192|256)?"), "CAMELLIA_CBC"),
    (re.compile(r"serpent(?:128|192|256)?"), "SERPENT_CBC"),
    (re.compile(r"twofish(?:128|192|256)?"), "TWOFISH_CBC"),
    (re.compile(r"3des"), "3DES_CBC"),
    (re.compile(r"null"), "NULL"),
)
_KEYWORD_INTEGRITIES: Mapping[str, str] = {
    "md5": "HMAC_MD5_96", "md5_128": "HMAC_MD5_128", "sha": "HMAC_SHA1_96", "sha1": "HMAC_SHA1_96",
    "sha1_160": "HMAC_SHA1_160", "aesxcbc": "AES_XCBC_96", "aescmac": "AES_CMAC_96", "sha256": "HMAC_SHA2_256_128",
    "sha2_256": "HMAC_SHA2_256_128", "sha256_96": "HMAC_SHA2_256_96", "sha384": "HMAC_SHA2_384_192",
    "sha2_384": "HMAC_SHA2_384_192", "sha512": "HMAC_SHA2_512_256", "sha2_512": "HMAC_SHA2_512_256",
}  # fmt: skip


def negotiated(encryption: str, integrity: str) -> EspSizes | None:
    """Return the sizes of negotiated algorithms, as charon lists them; ``None`` if one of them is unknown."""
    cipher = CIPHERS.get(encryption.partition("-")[0])
    icv = INTEGRITIES.get(integrity.partition("-")[0]) if integrity else 0
    if cipher is None or icv is None:
        return None
    return EspSizes(cipher.iv, cipher.icv or icv, cipher.block)


def proposed(proposal: str) -> tuple[EspSizes, ...]:
    """Return the sizes of every choice that a proposal of swanctl.conf leaves, as ``aes128-sha256-ecp256``.

    Empty if it names no known cipher. Key exchanges and the like have no size.
    """
    words = proposal.lower().split("-")
    ciphers = [cipher for word in words if (cipher := _cipher(word))]
    integrities = [INTEGRITIES[_KEYWORD_INTEGRITIES[word]] for word in words if word in _KEYWORD_INTEGRITIES]
    return tuple(
        EspSizes(cipher.iv, icv, cipher.block)
        for cipher in ciphers
        for icv in ([cipher.icv] if cipher.icv else integrities or [0])
    )


def _cipher(word: str) -> Cipher | None:
    for pattern, name in _KEYWORD_CIPHERS:
        if found := pattern.fullmatch(word):
            length = found.group(1) if pattern.groups else ""
            # gcm128 is another word for gcm16: bits instead of bytes.
            octets = str(int(length) // 8) if length.isdecimal() and int(length) > 16 else length
            return CIPHERS.get(name.format(octets))
    return None


def outer_size(inner: int, esp: EspSizes, *, udp: bool, key: bool = True) -> int:
    """Return the size of the packet on the uplink that carries an inner packet of this size."""
    payload = GRE_HEADER + (GRE_KEY_FIELD if key else 0) + inner
    padding = -(payload + ESP_TRAILER) % max(esp.block, 4)
    return IP_HEADER + (UDP_HEADER if udp else 0) + ESP_HEADER + esp.iv + payload + padding + ESP_TRAILER + esp.icv


def largest_inner(uplink_mtu: int, esp: EspSizes, *, udp: bool, key: bool = True) -> int:
    """Return the largest inner packet that fits into one packet on the uplink; 0 if none does."""
    room = uplink_mtu - IP_HEADER - (UDP_HEADER if udp else 0) - ESP_HEADER - esp.iv - esp.icv
    room -= room % max(esp.block, 4)
    return max(room - ESP_TRAILER - GRE_HEADER - (GRE_KEY_FIELD if key else 0), 0)
