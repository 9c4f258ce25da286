"""The paths from a CA up to the trust anchors.

A trust anchor is a CA certificate of the operator that issued itself, or that no other known CA issued.
"""

from collections.abc import Iterator

from dmvpn_agent.x509.authorities import Authority
from dmvpn_agent.x509.ca_index import CaIndex
from dmvpn_agent.x509.name import CanonicalName

#: CA certificates in one chain, the trust anchor included (strongSwan's ``MAX_TRUST_PATH_LEN``).
MAX_DEPTH = 7

#: Steps to find the paths of one CA: CAs that certify one another can make any number of paths.
MAX_STEPS = 4096

#: CA certificates, each issued by the next; the last is the trust anchor.
Path = tuple[Authority, ...]


class CaPaths:
    """Finds paths among known CA certificates, and caches them."""

    def __init__(self, index: CaIndex) -> None:
        self._index = index
        self._paths: dict[str, tuple[Path, ...]] = {}
        self._lead_only_to: dict[str, bool] = {}

    def paths_from(self, authority: Authority) -> tuple[Path, ...]:
        """Return the paths that begin with a CA."""
        fingerprint = authority.certificate.fingerprint
        if fingerprint not in self._paths:
            steps = iter(range(MAX_STEPS))
            paths = self._extended((authority,), steps)
            self._paths[fingerprint] = tuple(path for path in paths if _respects_path_lengths(path))
        return self._paths[fingerprint]

    def anchors_of(self, signer: Authority) -> frozenset[tuple[CanonicalName, bytes]]:
        """Return name and key of the trust anchors above a CA or CRL signer."""
        below = (signer,) if signer.issues else self._index.issuers_of(signer)
        paths = (path for authority in below for path in self.paths_from(authority))
        return frozenset((path[-1].name, path[-1].key) for path in paths)

    def _extended(self, path: Path, steps: Iterator[int]) -> Iterator[Path]:
        """Yield the complete paths that begin with ``path``."""
        if next(steps, None) is None or len(path) > MAX_DEPTH:
            return
        last = path[-1]
        passed = {(one.name, one.key) for one in path}
        issuers = self._index.issuers_of(last)
        issued_itself = any(one.key == last.key and one.name == last.name for one in issuers)
        higher = [one for one in issuers if (one.name, one.key) not in passed]
        if last.signature.refused and not last.names_itself and self._has_other_namesake_above(last):
            return  # the known CA of that name may have issued and revoked it; the signature proves nothing
        if self._index.is_given(last) and (issued_itself or not higher or self._issuers_lead_only_to(last)):
            yield path
        elif not issued_itself:
            for one in higher:
                yield from self._extended((*path, one), steps)

    def _has_other_namesake_above(self, authority: Authority) -> bool:
        return any(
            (one.name, one.key) != (authority.name, authority.key) and not self._leads_only_to(authority, one)
            for one in self._index.issuing(authority.issuer)
        )

    def _issuers_lead_only_to(self, authority: Authority) -> bool:
        """Tell whether every known issuer of a CA is known only because of this CA.

        A CA below can certify the key of the one above it. That must not disable a trust anchor.
        """
        fingerprint = authority.certificate.fingerprint
        if fingerprint not in self._lead_only_to:
            issuers = self._index.issuers_of(authority)
            self._lead_only_to[fingerprint] = all(self._leads_only_to(authority, one) for one in issuers)
        return self._lead_only_to[fingerprint]

    def _leads_only_to(self, authority: Authority, issuer: Authority) -> bool:
        """Tell whether all paths up from an issuer lead to this CA, and to no other one of the operator's."""
        pending, seen, reaches = [issuer], set[str](), False
        while pending:
            one = pending.pop()
            if (one.name, one.key) == (authority.name, authority.key):
                reaches = True
            elif self._index.is_given(one):
                return False
            elif one.certificate.fingerprint not in seen:
                seen.add(one.certificate.fingerprint)
                pending += self._index.issuers_of(one)
        return reaches


def _respects_path_lengths(path: Path) -> bool:
    """Tell whether every CA allows the number of CAs below it (RFC 5280, section 6.1.4, l and m)."""
    below = 0
    for authority in path:
        if authority.path_length is not None and authority.path_length < below:
            return False
        below += not authority.self_issued
    return len(path) <= MAX_DEPTH
