"""The known CA certificates by name, and which of them issued a certificate or signed a CRL.

Names are compared by RFC 5280, section 7.1; among CAs with one name the key decides.
"""

from collections.abc import Iterable, Iterator, Sequence

from dmvpn_agent.x509.authorities import Authority
from dmvpn_agent.x509.name import CanonicalName
from dmvpn_agent.x509.signature import Signature
from dmvpn_agent.x509.signer_cache import SignerCache


class CaIndex:
    """The operator's CA certificates (``given``) and the intermediate ones (``learned``). It does not change."""

    def __init__(self, given: Iterable[Authority], learned: Iterable[Authority], signer_cache: SignerCache) -> None:
        self.signer_cache = signer_cache
        self.given = tuple({one.certificate.fingerprint: one for one in given}.values())
        self._given = frozenset(one.certificate.fingerprint for one in self.given)
        self.learned = tuple(one for one in learned if one.certificate.fingerprint not in self._given)
        self._by_name: dict[CanonicalName, list[Authority]] = {}
        for authority in (*self.given, *self.learned):
            self._by_name.setdefault(authority.name, []).append(authority)

    def is_given(self, authority: Authority) -> bool:
        """Tell whether a CA certificate is the operator's."""
        return authority.certificate.fingerprint in self._given

    def named(self, name: CanonicalName) -> Sequence[Authority]:
        """Return the CA certificates with this name."""
        return self._by_name.get(name, ())

    def issuing(self, name: CanonicalName) -> Iterator[Authority]:
        """Return those with this name that may issue certificates."""
        return (one for one in self.named(name) if one.issues)

    def signer(
        self, digest: str, signature: Signature, key_id: bytes | None, among: Iterable[Authority]
    ) -> bytes | None:
        """Return the key of one of these CAs that made a signature; CAs with the named key identifier come first."""
        ordered = sorted(among, key=lambda one: key_id is None or one.key_id != key_id)
        return self.signer_cache.signer(digest, signature, ordered)

    def issuers(
        self, digest: str, signature: Signature, issuer: CanonicalName, key_id: bytes | None
    ) -> tuple[Authority, ...]:
        """Return all CA certificates with the name and the key with which a certificate was issued."""
        among = tuple(self.issuing(issuer))
        key = self.signer(digest, signature, key_id, among)
        return tuple(one for one in among if one.key == key)

    def issuers_of(self, authority: Authority) -> tuple[Authority, ...]:
        """Return the CA certificates that issued a CA certificate."""
        digest = authority.certificate.fingerprint
        return self.issuers(digest, authority.signature, authority.issuer, authority.issuer_key_id)
