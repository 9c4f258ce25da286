"""The certificates of charon's cache by the IKE identities that they can prove.

charon shows an identity as text only. So a certificate matches if charon would print one of its identities like that
text (``x509.ike_identity``), even if it is another peer's. ``certificate_choice`` decides which match counts.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.ike_identity import PrintedIdentity, case_folded, printed_identities


class Match(NamedTuple):
    """A certificate with an identity that charon prints like the given text.

    ``certain``: no other identity is printed like it.
    """

    certificate: Certificate
    certain: bool


class CertificateIndex:
    """Certificates (DER) by printed identity; ``unreadable``: those that match nothing, each with the reason."""

    def __init__(self, certificates: Iterable[bytes]) -> None:
        self._by_text: dict[str, list[tuple[PrintedIdentity, Certificate]]] = {}
        self.unreadable: dict[bytes, str] = {}
        for der in certificates:
            identities = _read(der)
            if isinstance(identities, str):
                self.unreadable[der] = identities
                continue
            for printed, certificate in identities:
                self._by_text.setdefault(case_folded(printed.text), []).append((printed, certificate))

    def matching(self, identity: str) -> list[Match]:
        """Return the certificates that charon can have accepted for an identity printed like this."""
        found: dict[str, Match] = {}
        for printed, certificate in self._by_text.get(case_folded(identity), ()):
            if printed.is_equal(identity):
                before = found.get(certificate.fingerprint)
                certain = printed.certain or (before is not None and before.certain)
                found[certificate.fingerprint] = Match(certificate, certain)
        return list(found.values())


@lru_cache(maxsize=128)
def _read(der: bytes) -> tuple[tuple[PrintedIdentity, Certificate], ...] | str:
    """Return a certificate with each of its identities, or why it is unreadable.

    Any peer can put a certificate into charon's cache: no exception of the libraries that read it may escape.
    """
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        return certificate.why
    try:
        return tuple([(printed, certificate) for printed in printed_identities(certificate)])
    except Exception as error:
        return f"its identities are not readable: {escaped(str(error) or type(error).__name__)}"
