"""Which key signed a certificate or CRL, remembered: the same ones are verified again and again."""

from collections.abc import Sequence

from dmvpn_agent.x509.authorities import Authority
from dmvpn_agent.x509.signature import Signature

#: How many certificates and CRLs are remembered.
CACHE_SIZE = 32768


class SignerCache:
    """The key that signed each certificate or CRL, by SHA-256 of its DER."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def signer(self, digest: str, signature: Signature, among: Sequence[Authority]) -> bytes | None:
        """Return the key (``Authority.key``) that made a signature, if it belongs to one of these CAs."""
        known = self._keys.get(digest)
        if known is not None and any(one.key == known for one in among):
            return known
        for one in {authority.key: authority for authority in reversed(among)}.values():
            if signature.is_by(one.public_key):
                if len(self._keys) >= CACHE_SIZE:
                    self._keys.clear()
                self._keys[digest] = one.key
                return one.key
        return None
