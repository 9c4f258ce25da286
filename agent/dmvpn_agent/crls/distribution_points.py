"""Which addresses a certificate names for the CRL of its issuer (RFC 5280, section 4.2.1.13)."""

from collections.abc import Iterable, Iterator

from cryptography import x509

from dmvpn_agent.runtime.url import BadUrl, Url
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.name import UNREADABLE

#: No CA of a DMVPN names more.
MAX_URLS = 16


def distribution_points(certificates: Iterable[Certificate]) -> tuple[Url, ...]:
    """Return the HTTP addresses of whole CRLs that these certificates name, each once, at most ``MAX_URLS``.

    Only for certificates of the operator: an address from a peer's certificate could be any host that this node
    reaches and the peer does not.
    """
    found = (url for certificate in certificates for url in _of(certificate))
    return tuple(dict.fromkeys(found))[:MAX_URLS]


def _of(certificate: Certificate) -> Iterator[Url]:
    try:
        loaded = x509.load_der_x509_certificate(certificate.der)
        points = loaded.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return
    for point in points:
        if point.reasons or point.crl_issuer:  # a part of the CRL, or another issuer's
            continue
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier):
                try:
                    yield Url.parse(name.value)
                except BadUrl:  # ldap: and the like
                    continue
