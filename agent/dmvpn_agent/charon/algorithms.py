"""The algorithms that charon knows, and which of them are weak: a closed list, so that each can be a metric label.

Names are strongSwan's (``encryption_algorithm_names``, ``integrity_algorithm_names``,
``pseudo_random_function_names``, ``key_exchange_method_names``).
"""

from enum import StrEnum

#: Those that RFC 8221, 8247 and 9395 forbid or advise against, ciphers with 64-bit blocks, and no encryption.
WEAK = frozenset({
    "DES_IV64", "DES_IV32", "DES_CBC", "DES_ECB", "3DES_CBC", "RC5_CBC", "IDEA_CBC", "CAST_CBC", "BLOWFISH_CBC",
    "3IDEA", "RC2_CBC", "AES_ECB", "NULL", "NULL_AES_GMAC",
    "HMAC_MD5_96", "HMAC_MD5_128", "DES_MAC", "KPDK_MD5",
    "PRF_HMAC_MD5", "PRF_HMAC_TIGER",
    "MODP_768", "MODP_1024", "MODP_1536", "MODP_1024_160", "MODP_2048_224", "MODP_2048_256", "MODP_NULL", "ECP_192",
})  # fmt: skip
_SOUND = frozenset({
    "AES_CBC", "AES_CTR", "AES_CFB", "AES_CCM_8", "AES_CCM_12", "AES_CCM_16", "AES_GCM_8", "AES_GCM_12", "AES_GCM_16",
    "CAMELLIA_CBC", "CAMELLIA_CTR", "CAMELLIA_CCM_8", "CAMELLIA_CCM_12", "CAMELLIA_CCM_16", "CHACHA20_POLY1305",
    "SERPENT_CBC", "TWOFISH_CBC",
    "HMAC_SHA1_96", "HMAC_SHA1_128", "HMAC_SHA1_160", "AES_XCBC_96", "AES_CMAC_96", "CAMELLIA_XCBC_96",
    "HMAC_SHA2_256_96", "HMAC_SHA2_256_128", "HMAC_SHA2_256_256", "HMAC_SHA2_384_192", "HMAC_SHA2_384_384",
    "HMAC_SHA2_512_256", "HMAC_SHA2_512_512", "AES_128_GMAC", "AES_192_GMAC", "AES_256_GMAC",
    "PRF_HMAC_SHA1", "PRF_AES128_XCBC", "PRF_AES128_CMAC", "PRF_HMAC_SHA2_256", "PRF_HMAC_SHA2_384",
    "PRF_HMAC_SHA2_512",
    "MODP_2048", "MODP_3072", "MODP_4096", "MODP_6144", "MODP_8192", "MODP_CUSTOM", "ECP_224", "ECP_256", "ECP_384",
    "ECP_521", "ECP_224_BP", "ECP_256_BP", "ECP_384_BP", "ECP_512_BP", "CURVE_25519", "CURVE_448", "GOST3410_256",
    "GOST3410_512", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024",
})  # fmt: skip
_BITS = frozenset({"", "128", "192", "256"})
OTHER = "other"


class Strength(StrEnum):
    """The strength of an algorithm."""

    SOUND = "sound"
    WEAK = "weak"
    UNKNOWN = "unknown"


def label(algorithm: str) -> tuple[str, Strength]:
    """Return the metric label of an algorithm, and its strength; ``other`` if it is not in the lists."""
    name, _, bits = algorithm.partition("-")
    if name in WEAK:
        return name, Strength.WEAK
    if name in _SOUND and bits in _BITS:
        return algorithm, Strength.SOUND
    return OTHER, Strength.UNKNOWN
