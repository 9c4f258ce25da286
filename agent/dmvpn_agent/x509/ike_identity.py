"""The IKE identities that a certificate proves, as charon prints them.

charon prints a distinguished name as ``C=DE, O=lab, CN=hub`` (``dntoa`` in strongSwan's ``identification.c``): short
names, the values' bytes, unprintable ones as ``?``. A subjectAltName is an identity as well, printed as bare text
without its type. A peer that authenticated under an identity has a certificate that contains it (``has_subject`` of
the x509 and openssl plugins). For a name: the same attributes in the same order with the same octets; case does not
count in a PrintableString, and ``*`` in the peer's identity matches any value. For a dNSName or rfc822Name: the same
text in any case, or a pattern with ``*`` in front.

So two identities can print the same. A printed identity that may belong to two peers identifies neither.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cryptography import x509

from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.der import Malformed, element
from dmvpn_agent.x509.name import IA5_STRING, PRINTABLE_STRING, SHORT_NAMES, Attribute, Name, read_name

#: charon's buffer for an identity. If a name is longer, charon replaces the first part that does not fit.
MAX_PRINTED = 511
_CUT = "(invalid ID_"
_MARK = f"{_CUT}DER_ASN1_DN)"

#: IPv6 addresses within the lowest 48 bits may be IPv4-mapped or IPv4-compatible, and glibc prints those differently.
_IPV4_FORMS = 48

#: The subjectAltNames that count as identities. charon prints every type as bare text, so a name that could be of
#: another type (``CN=hub`` or an address in a dNSName) does not count. Nor does a pattern: any peer whose name
#: matches it can authenticate under it.
_DNS_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9._-]{1,253}")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}")

#: Text in a value that looks like the beginning of another attribute.
_SEPARATOR = re.compile(rb", *[A-Za-z0-9.:]+=")
_MAIL = "1.2.840.113549.1.9.1"
#: strongSwan has a name for it after version 5.9.8, which prints its octets.
_ORGANIZATION_IDENTIFIER = "2.5.4.97"


class PrintedIdentity(NamedTuple):
    """An identity that a certificate contains, as charon prints it.

    ``certain``: every identity that prints the same is equal to charon. ``exact``: the parts of the text (start and
    end) in which case counts.
    """

    text: str
    certain: bool
    exact: tuple[tuple[int, int], ...] = ()

    def is_equal(self, printed: str) -> bool:
        """Tell whether an identity that charon prints like this can be the certificate's."""
        if printed == self.text:
            return True
        same = case_folded(printed) == case_folded(self.text)
        return same and all(printed[start:stop] == self.text[start:stop] for start, stop in self.exact)


def case_folded(printed: str) -> str:
    """Return a printed identity in lower case, as a key for look-ups."""
    return printed.lower()


def printed_identities(certificate: Certificate) -> Iterator[PrintedIdentity]:
    """Yield the identities that a certificate proves to charon, except those that print like no certain one."""
    subject = read_name(certificate.subject_name)
    text = printed_subject(subject)
    if text is not None:
        yield PrintedIdentity(text, _is_certain(subject, text), tuple(_exact(subject)))
    parsed = x509.load_der_x509_certificate(certificate.der)
    for extension in parsed.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            certain = set(printed_alternative_names(extension.value))
            yield from (PrintedIdentity(one, certain=True) for one in certain)
            yield from (
                PrintedIdentity(one, certain=False) for one in _ambiguous_names(extension.value) if one not in certain
            )
        elif isinstance(extension.value, x509.SubjectKeyIdentifier):
            yield from _key_id(extension.value.digest)
    # It may be 0 or negative. Of a negative one charon's openssl plugin has the magnitude.
    serial = abs(parsed.serial_number)
    yield from _key_id(serial.to_bytes((serial.bit_length() + 7) // 8))


def printed_subject(subject: Name) -> str | None:
    """Return a subject as charon prints it (``dntoa``); ``None`` if that is not certain."""
    parts = []
    for oid, value, text, _ in subject:
        short = SHORT_NAMES.get(oid)
        if short is None or not text or oid == _ORGANIZATION_IDENTIFIER:
            return None
        parts.append(f"{short}={value.decode('latin-1')}")
    printed = _printable(", ".join(parts))
    return printed if parts and len(printed) <= MAX_PRINTED else None


def approximate_printed_subject(subject: Name) -> str:
    """Return a subject about as charon prints it: other subjects may print the same, and charon may cut it."""
    return _printable(
        ", ".join(f"{SHORT_NAMES.get(one.oid, one.oid)}={one.value.decode('latin-1')}" for one in subject)
    )


def may_print_as(subject: Name, printed: str) -> bool:
    """Tell whether charon can print a subject like this, although ``printed_subject`` cannot.

    An attribute that charon prints in an unknown way matches any text, all others must be equal. Of a subject that is
    too long, what stands before charon's mark must be its beginning.
    """
    attributes = [_printable(f"{SHORT_NAMES.get(one.oid)}={one.value.decode('latin-1')}") for one in subject]
    whole = ", ".join(attributes)
    if len(whole) > MAX_PRINTED:
        begins, mark = printed[: printed.rfind("(")], printed[printed.rfind("(") :]
        return bool(begins) and whole.startswith(begins if _MARK.startswith(mark) else printed)
    known = [one.oid in SHORT_NAMES and one.text and one.oid != _ORGANIZATION_IDENTIFIER for one in subject]
    pattern = ", ".join(re.escape(text) if exact else ".*" for text, exact in zip(attributes, known, strict=True))
    return re.fullmatch(pattern, printed) is not None


def printed_alternative_names(names: Iterable[x509.GeneralName]) -> Iterator[str]:
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


def _printable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join([char if " " <= char <= "~" else "?" for char in text])


def _is_certain(subject: Name, printed: str) -> bool:
    """Tell whether no other name prints like this one, and no other peer can authenticate under it."""
    return _CUT not in printed and not any(
        value == b"*" or _SEPARATOR.search(value) or not value.isascii() or not value.decode("ascii").isprintable()
        for _, value, _, _ in subject
    )


def _exact(subject: Name) -> Iterator[tuple[int, int]]:
    """Yield the parts of the printed name in which case counts (``rdn_equals``)."""
    at = 0
    for attribute in subject:
        start = at + len(SHORT_NAMES[attribute.oid]) + len("=")
        at = start + len(attribute.value)
        if not _ignores_case(attribute):
            yield start, at
        at += len(", ")


def _ignores_case(attribute: Attribute) -> bool:
    return attribute.tag == PRINTABLE_STRING or (attribute.tag == IA5_STRING and attribute.oid == _MAIL)


def _ambiguous_names(names: Iterable[x509.GeneralName]) -> Iterator[str]:
    """Yield the text of subjectAltNames of any type, also those that print like another type."""
    for name in names:
        if isinstance(name, x509.DirectoryName):
            with suppress(Malformed, ValueError):  # such a name prints like no certain one
                text = printed_subject(read_name(name.value.public_bytes()))
                yield from () if text is None else (text,)
        elif isinstance(name, x509.OtherName):  # a user principal name is an identity like a mail address
            with suppress(Malformed):
                _, start, stop = element(name.value, 0, len(name.value))
                yield _printable(name.value[start:stop].decode("latin-1"))
        elif isinstance(name.value, str):
            yield _printable(name.value)


def _key_id(octets: bytes) -> Iterator[PrintedIdentity]:
    """Yield an ID_KEY_ID as charon prints it, if it is text and not a SHA-1 hash."""
    if octets and octets.isascii() and octets.decode("ascii").isprintable():
        yield PrintedIdentity(octets.decode("ascii"), certain=False)
