"""Whether a trust store accepts one certificate or one CRL, for tests."""

from collections.abc import Sequence

from dmvpn_agent.x509.authorities import Authority
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.trust_store import TrustStore


def chains_to(der: bytes, others: Sequence[bytes], authorities: Sequence[Authority]) -> bool:
    """Tell whether a certificate has a chain to a CA, perhaps through CAs among ``others``."""
    certificate = read_certificate(der)
    store = TrustStore(authorities)
    store = TrustStore(authorities, store.learn(others))
    return isinstance(certificate, Certificate) and bool(store.chains(certificate).found)


def signed_by(crl: Crl, authorities: Sequence[Authority]) -> bool:
    """Tell whether a CRL is in force with these CAs."""
    store = TrustStore(authorities, crls=(crl,))
    assert len(store.crls) + len(store.unused) == 1
    return bool(store.crls)
