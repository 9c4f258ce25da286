"""Distinguished names as RFC 4514 text, and checks of the operator's patterns for them.

``policy.issuers``, ``policy.subjects`` and other patterns match this text. It is complete and unambiguous, so that no
certificate can deceive a pattern: the last RDN comes first, RDNs are separated by ``,`` without a space, the
attributes of one RDN by ``+``. Text is UTF-8 in normal form C. In a value, every special character and every
unprintable one is written as ``\\`` and two hexadecimal digits for each octet (a comma as ``\\2C``), which RFC 4514,
section 2.4, allows for all of them. An attribute type without a name here is written as its object identifier with
the value's DER: ``1.2.3=#0C0141``.
"""

import re
import unicodedata

from dmvpn_agent.x509.name import Attribute, Name

#: Attribute types by object identifier: RFC 4519, RFC 2985 and what OpenSSL prints.
ATTRIBUTE_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
}

_NAMES = frozenset(ATTRIBUTE_NAMES.values())
#: Other names of the same attribute types, charon's among them.
_OTHERS = {"E": "emailAddress", "email": "emailAddress", "T": "title", "G": "GN", "I": "initials", "D": "description",
           "N": "name", "givenName": "GN", "surname": "SN", "S": "ST", "ID": "x500UniqueIdentifier"}  # fmt: skip
_BY_CASE = {name.lower(): name for name in _NAMES}

_BRACKETS = re.compile(r"\[[!^]?\]?[^\]]*\]")
_ATTRIBUTE = re.compile(r"(?:^|[,+])([A-Za-z0-9.-]+)=")
_CHARON_SEPARATOR = re.compile(r", +[A-Za-z0-9.]+=")
_WILDCARD = re.compile(r"[*?]")

#: Characters with a meaning of their own (RFC 4514, section 2.4), in a value anywhere, and as its first.
_SPECIAL = frozenset('"+,;<>\\')
_SPECIAL_FIRST = frozenset("# ")


def rfc4514_text(rdns: tuple[Name, ...]) -> str:
    """Return a name's RDNs as text, the last one first; never cut."""
    return ",".join("+".join(map(_attribute_text, rdn)) for rdn in reversed(rdns))


def _attribute_text(attribute: Attribute) -> str:
    name = ATTRIBUTE_NAMES.get(attribute.oid)
    if name is None or attribute.text is None:
        return f"{name or attribute.oid}=#{_der(attribute).hex().upper()}"
    text = unicodedata.normalize("NFC", attribute.text)
    if text.isascii() and text.replace(" ", "").replace("=", "").isalnum() and text == text.strip():
        return f"{name}={text}"  # most often
    last = len(text) - 1
    return f"{name}=" + "".join(
        _escaped(char) if _is_special(char, first=at == 0, last=at == last) else char for at, char in enumerate(text)
    )


def _is_special(char: str, *, first: bool, last: bool) -> bool:
    return char in _SPECIAL or (first and char in _SPECIAL_FIRST) or (last and char == " ") or not char.isprintable()


def _escaped(char: str) -> str:
    return "".join(f"\\{octet:02X}" for octet in char.encode("utf-8", "surrogatepass"))


def _der(attribute: Attribute) -> bytes:
    length = len(attribute.value)
    octets = length.to_bytes((length.bit_length() + 7) // 8) if length > 127 else b""
    head = bytes((0x80 | len(octets),)) + octets if octets else bytes((length,))
    return bytes((attribute.tag,)) + head + attribute.value


def why_no_name_matches(pattern: str) -> str:
    """Return why a shell pattern cannot match any name in this form; empty if it can."""
    text = _BRACKETS.sub("?", pattern)
    if why := _unwritten(text):
        return why
    if text.startswith("/") or ", " in text:
        return "RFC 4514 separates parts by ',' without a space, the last one first: CN=spoke1,O=lab,C=DE"
    for key in _ATTRIBUTE.findall(text):
        name = ATTRIBUTE_NAMES.get(key) or _OTHERS.get(key) or _BY_CASE.get(key.lower())
        if key not in _NAMES and (name or not key[0].isdigit()):
            instead = f"; write {name}" if name else f" ({', '.join(sorted(_NAMES))})"
            return f"{key} is not an attribute of RFC 4514{instead}"
    if found := re.search(r'["<>;]|\\(?![0-9A-F*?])', text):
        return f"{found[0]} is written as \\{ord(found[0]):02X} in RFC 4514"
    for part in text.split(","):
        if not _WILDCARD.search(part) and ("=" not in part or part != part.strip()):
            return f"{part!r} is not an attribute, '=' and a value; a comma in a value is written as \\2C"
    return _beginning(text)


def why_no_identity_matches(pattern: str, *, without_certificate: bool = False) -> str:
    """Return why a shell pattern cannot match any identity; empty if it can.

    An identity is a subject in this form or as charon prints it, or a subjectAltName; with ``without_certificate``
    only what charon prints.
    """
    if why := _unwritten(pattern):
        return why
    if not pattern.isascii() and (without_certificate or _CHARON_SEPARATOR.search(pattern)):
        return "charon prints '?' for each octet that is not ASCII; match such names in the form of RFC 4514"
    return ""


def _unwritten(text: str) -> str:
    if not unicodedata.is_normalized("NFC", text):
        return f"it is not in Unicode's normal form C; write {unicodedata.normalize('NFC', text)!r}"
    if not text.isprintable():
        return "it has an unprintable character, which is written as \\ and two hexadecimal digits"
    return ""


def _beginning(text: str) -> str:
    """Return why no name begins like a pattern: names begin with an attribute name or an object identifier."""
    literal = _WILDCARD.split(text)[0]
    if not literal or "=" in literal or any(name.startswith(literal) for name in _NAMES):
        return ""
    return "" if re.fullmatch(r"[0-9.]+", literal) else "a name begins with an attribute, such as CN=; put * in front"
