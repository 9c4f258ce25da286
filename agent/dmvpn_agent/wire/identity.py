"""Which certificate belongs to an identity that charon prints.

charon prints a distinguished name as ``C=DE, O=lab, CN=hub`` (``dntoa`` in strongSwan's ``identification.c``): short
names, the values' bytes, unprintable ones as ``?``. Whoever authenticated under a printed name did so with a
certificate that prints alike, so the certificate's own subject is printed in the same way and the two are compared.

Only subjects are compared. charon's cache, from which the certificates come, also holds ones that somebody sent
without being authenticated; one with an equal subject says nothing else in that subject, but one with an equal
subjectAltName may say anything.
"""

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509

# strongSwan src/libstrongswan/asn1/oid.txt
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.13": "D",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "N",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "2.5.4.45": "ID",
    "2.5.4.46": "dnQualifier",
    "2.5.4.54": "dmdName",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "E",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
}

#: charon prints into a buffer of this size and cuts what is longer: two long names could then look alike.
MAX_PRINTED = 511


def printed_subject(certificate: x509.Certificate) -> str | None:
    """Return a certificate's subject as charon prints it; ``None`` where that cannot be told for certain."""
    parts = []
    for attribute in certificate.subject:
        name = _SHORT_NAMES.get(attribute.oid.dotted_string)
        value = attribute.value
        if name is None or not isinstance(value, str):
            return None
        parts.append(f"{name}={_printable(value.encode())}")
    printed = ", ".join(parts)
    return printed if parts and len(printed) <= MAX_PRINTED else None


def _printable(value: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in value)


def newest_by_subject(certificates: Iterable[bytes]) -> dict[str, bytes]:
    """Return certificates (DER) by their printed subject; of several for one subject the one issued last.

    Ones that cannot be read or printed are left out.
    """
    newest: dict[str, tuple[datetime, bytes]] = {}
    for der in certificates:
        try:
            certificate = x509.load_der_x509_certificate(der)
            subject, issued = printed_subject(certificate), certificate.not_valid_before_utc
        except ValueError:
            continue
        if subject is not None and (subject not in newest or issued > newest[subject][0]):
            newest[subject] = issued, der
    return {subject: der for subject, (_, der) in newest.items()}
