"""Which of the certificates in charon's cache an IKE identity was authenticated with.

The cache also holds certificates that somebody sent without ever being authenticated by them, so one counts only if
it comes from a CA of the operator (``trust.chains_to``). What is left for an identity must be one peer's. charon
shows an identity as text only, so every certificate whose identity it would print alike is a candidate too
(``x509.ike_identity``). If one of them is another peer's, none counts.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from dmvpn_agent.bridge.least_privileged import is_subset, least_privileged
from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.ike_identity import PrintedIdentity, case_folded, printed_identities

#: charon tells in whole seconds when an IKE_SA came up, and the two clocks of a certificate are two machines'.
SKEW = timedelta(seconds=5)


class Ambiguous(Exception):
    """Several certificates could be the one; the text names them.

    ``one_peers``: they are one peer's, which only has to be authenticated anew once the older one is gone.
    """

    def __init__(self, text: str, *, one_peers: bool) -> None:
        super().__init__(text)
        self.one_peers = one_peers


class Candidate(NamedTuple):
    """A certificate that may have proved an identity; ``certain``: the identity can be no other one of it."""

    certificate: Certificate
    certain: bool


class Choice(NamedTuple):
    """The certificate that counts, and wider ones of the same peer that do not."""

    certificate: Certificate
    wider: tuple[Certificate, ...] = ()

    @property
    def outdated(self) -> bool:
        """Tell whether a newer certificate does not count because this one is narrower."""
        return any(other.not_before > self.certificate.not_before for other in self.wider)


class CertificateIndex:
    """The certificates of a cache (DER), by what they can prove.

    One that cannot be read proves nothing; ``unreadable`` says of each such why.
    """

    def __init__(self, certificates: Iterable[bytes]) -> None:
        self._by_text: dict[str, list[tuple[PrintedIdentity, Certificate]]] = {}
        self.unreadable: dict[bytes, str] = {}
        for der in certificates:
            proofs = _read(der)
            if isinstance(proofs, str):
                self.unreadable[der] = proofs
                continue
            for printed, certificate in proofs:
                self._by_text.setdefault(case_folded(printed.text), []).append((printed, certificate))

    def of(self, identity: str) -> list[Candidate]:
        """Return the certificates with which charon can have authenticated an identity that it prints like this."""
        found: dict[str, Candidate] = {}
        for printed, certificate in self._by_text.get(case_folded(identity), ()):
            if printed.is_equal(identity):
                before = found.get(certificate.fingerprint)
                certain = printed.certain or (before is not None and before.certain)
                found[certificate.fingerprint] = Candidate(certificate, certain)
        return list(found.values())


def choose(candidates: Sequence[Candidate], now: datetime, established_at: datetime | None) -> Choice | None:
    """Return the certificate that counts for an IKE_SA that came up then; ``None`` where there is none.

    One that is not valid now, or was not yet when the IKE_SA came up, is none. Raises ``Ambiguous``.
    """
    until = now if established_at is None else min(now, established_at + SKEW)
    valid = [one for one in candidates if one.certificate.not_before <= until and now <= one.certificate.not_after]
    if not any(one.certain for one in valid):
        return None
    certificates = [one.certificate for one in valid]
    if len({certificate.identity for certificate in certificates}) > 1:
        raise Ambiguous(_named(certificates), one_peers=False)
    chosen = least_privileged(certificates)
    if chosen is None:
        raise Ambiguous(_named(certificates), one_peers=True)
    if not any(one.certain for one in valid if one.certificate is chosen):
        return None
    return Choice(chosen, tuple(other for other in certificates if not is_subset(other, chosen)))


@lru_cache(maxsize=128)
def _read(der: bytes) -> tuple[tuple[PrintedIdentity, Certificate], ...] | str:
    """Return what a certificate can prove, or why it cannot be read; most of charon's cache was there before.

    Anybody can put a certificate into charon's cache: no exception of the libraries that read it may escape.
    """
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        return certificate.why
    try:
        return tuple([(printed, certificate) for printed in printed_identities(certificate)])
    except Exception as error:
        return f"its identities are not readable: {escaped(str(error) or type(error).__name__)}"


def _named(certificates: Sequence[Certificate]) -> str:
    return " and ".join(sorted(f"{one.subject} ({one.serial:x})" for one in certificates))
