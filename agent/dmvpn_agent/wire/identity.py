"""Which certificate belongs to an identity that charon prints.

charon prints a distinguished name as ``C=DE, O=lab, CN=hub`` (``dntoa`` in strongSwan's ``identification.c``): short
names, the values' bytes, unprintable ones as ``?``. Whoever authenticated under a printed name did so with a
certificate that prints alike, so the certificate's own subject is printed in the same way and the two are compared.

A subjectAltName is an identity as well. charon prints it as bare text, whatever its kind.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509

from dmvpn_agent.wire.name import SHORT_NAMES, Name

#: charon prints into a buffer of this size and cuts what is longer: two long names could then look alike.
MAX_PRINTED = 511

#: IPv6 addresses within the lowest 48 bits may be IPv4-mapped or IPv4-compatible: glibc writes those in another way.
_IPV4_FORMS = 48
_PRINTABLE = bytes(range(0x20, 0x7F))


#: What a subjectAltName may consist of to be an identity: charon prints every kind of identity as bare text, so one
#: that could be mistaken for another kind (``CN=hub`` or an address in a dNSName) is none.
_DNS_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9._*-]{1,253}")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}")


def printed_subject(subject: Name) -> str | None:
    """Return a subject as charon prints it (``dntoa``); ``None`` where that cannot be told for certain."""
    parts = []
    for oid, value, text in subject:
        short = SHORT_NAMES.get(oid)
        if short is None or not text:
            return None
        parts.append(f"{short}={_printable(value)}")
    printed = ", ".join(parts)
    return printed if parts and len(printed) <= MAX_PRINTED else None


def _printable(value: bytes) -> str:
    if not value.translate(None, _PRINTABLE):
        return value.decode("ascii")
    return "".join(chr(byte) if byte in _PRINTABLE else "?" for byte in value)


def printed_alternatives(names: Iterable[x509.GeneralName]) -> Iterator[str]:
    """Yield the subjectAltNames that can be IKE identities (names, mail and IP addresses) as charon prints them."""
    for name in names:
        kind, value = type(name), name.value
        if kind is x509.IPAddress:
            if type(value) is IPv4Address or (type(value) is IPv6Address and int(value) >> _IPV4_FORMS):
                yield str(value)
        elif (kind is x509.DNSName and _DNS_NAME.fullmatch(value)) or (
            kind is x509.RFC822Name and _MAIL_ADDRESS.fullmatch(value)
        ):
            yield value
