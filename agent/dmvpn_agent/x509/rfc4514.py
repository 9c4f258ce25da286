"""A distinguished name as text in the one form that patterns match (``name_patterns``): RFC 4514, whole, UTF-8."""

import unicodedata

from dmvpn_agent.x509.name import Attribute, Name
from dmvpn_agent.x509.name_patterns import ATTRIBUTE_NAMES

#: Characters with a meaning of their own (RFC 4514, section 2.4), in a value anywhere, and as its first.
_SPECIAL = frozenset('"+,;<>\\')
_SPECIAL_FIRST = frozenset("# ")


def rfc4514(rdns: tuple[Name, ...]) -> str:
    """Return a name's RDNs as text, the last one first; never cut."""
    return ",".join("+".join(map(_text, rdn)) for rdn in reversed(rdns))


def _text(attribute: Attribute) -> str:
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
