"""Which of the certificates in charon's cache an IKE identity was authenticated with.

The cache also holds certificates that somebody sent without ever being authenticated by them, so one counts only if
it comes from a CA of the operator (``trust.chains_to``). What is left for an identity must be one peer's.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from dmvpn_agent.core.model import Certificate
from dmvpn_agent.wire.certificate import read_certificate

#: The cache is listed at each authentication, and nearly all of it was there the time before.
_read = lru_cache(maxsize=128)(read_certificate)


class Ambiguous(Exception):
    """Certificates of different peers prove the same identity; the text names them."""


def by_identity(certificates: Iterable[bytes]) -> Mapping[str, Sequence[Certificate]]:
    """Return the certificates (DER) that can be read, by each identity that they prove, as charon prints it."""
    found: dict[str, list[Certificate]] = {}
    for der in certificates:
        certificate = _read(der)
        if isinstance(certificate, Certificate):
            for identity in certificate.identities:
                found.setdefault(identity, []).append(certificate)
    return found


def newest(candidates: Sequence[Certificate]) -> Certificate | None:
    """Return the one issued last of a peer's certificates, ``None`` of none. Raises ``Ambiguous``."""
    if len({certificate.identity for certificate in candidates}) > 1:
        raise Ambiguous(" and ".join(sorted(f"{one.subject} ({one.serial:x})" for one in candidates)))
    return max(candidates, key=lambda certificate: certificate.not_before, default=None)
