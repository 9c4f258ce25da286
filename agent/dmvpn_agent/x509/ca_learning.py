"""Intermediate CAs among certificates that peers send.

Anybody can send certificates. A CA becomes known only if a known CA signed it, so the chains are built downwards from
the operator's CAs: a stranger's certificate costs one verification and blocks no other.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authority
from dmvpn_agent.x509.ca_index import CaIndex
from dmvpn_agent.x509.certificate_reader import MAX_CERTIFICATE_BYTES

#: Intermediate CAs that are learned at most.
MAX_LEARNED = 256

#: Signatures that one call verifies.
MAX_VERIFICATIONS = 50

#: Certificates that are remembered as refused.
MAX_REFUSED = 32768

#: basicConstraints with CA:TRUE in DER: most certificates are not a CA's, and this spares parsing them.
_IS_CA = re.compile(rb"\x55\x1d\x13(?:\x01\x01\xff)?\x04.\x30.\x01\x01\xff", re.DOTALL)


class CaLearner:
    """Finds new intermediate CAs for one index, and remembers those that it refused."""

    def __init__(self, index: CaIndex) -> None:
        self._index = index
        self._refused: set[str] = set()

    def learn(self, certificates: Iterable[bytes]) -> tuple[Authority, ...]:
        """Return the CA certificates (DER) among these that a known CA issued and that are new."""
        pending = list(self._new(certificates))
        learned: list[Authority] = []
        verifications, progress = 0, True
        while progress:
            progress = False
            for one in tuple(pending):
                issuers = self._named_like_issuer(one, learned)
                full = len(self._index.learned) + len(learned) >= MAX_LEARNED
                if not issuers or full or verifications >= MAX_VERIFICATIONS:
                    continue
                verifications += 1
                pending.remove(one)
                if self._is_signed(one, issuers):
                    learned.append(one)
                    progress = True
                else:
                    self._refuse(one.certificate.fingerprint)
        for one in pending:
            if not self._named_like_issuer(one, learned):
                self._refuse(one.certificate.fingerprint)  # a later index that knows its issuer accepts it
        return tuple(learned)

    def _named_like_issuer(self, authority: Authority, learned: list[Authority]) -> list[Authority]:
        return [one for one in (*self._index.issuing(authority.issuer), *learned) if one.name == authority.issuer]

    def _is_signed(self, authority: Authority, issuers: list[Authority]) -> bool:
        digest, key_id = authority.certificate.fingerprint, authority.issuer_key_id
        return self._index.signer(digest, authority.signature, key_id, issuers) is not None

    def _new(self, certificates: Iterable[bytes]) -> Iterator[Authority]:
        """Yield the CA certificates that are neither known nor refused."""
        seen = self._refused | {one.certificate.fingerprint for one in (*self._index.given, *self._index.learned)}
        for der in certificates:
            if len(der) > MAX_CERTIFICATE_BYTES or not _IS_CA.search(der):
                continue
            fingerprint = hashlib.sha256(der).hexdigest()
            if fingerprint in seen:
                continue
            seen.add(fingerprint)
            if (authority := _issuing_ca(der)) is None:
                self._refuse(fingerprint)
            else:
                yield authority

    def _refuse(self, fingerprint: str) -> None:
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused.add(fingerprint)


def _issuing_ca(der: bytes) -> Authority | None:
    try:
        authority = read_authority(der)
    except AuthorityError:
        return None
    return authority if authority.issues else None
